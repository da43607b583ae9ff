/*
 * The angel: starts a daemon, starts it again when it dies, and holds what must outlive it.
 *
 *     angel [--fuse N] [--pidfile FILE] [--log-prefix TEXT] [--quick MS] -- program [argument ...]
 *
 * It opens N /dev/fuse descriptors once and gives them to every incarnation as 3 ... 3+N-1
 * (TWINBEAT_FUSE_FDS=3-<last>). As long as the angel holds a mounted descriptor, the users of the file system on it
 * wait while there is no daemon; without it they get EIO. Mounting and serving is the daemon's work. The environment
 * also has TWINBEAT_INCARNATION=1,2,... and TWINBEAT_ANGEL=<our pid>.
 *
 *     child ends with    then
 *     0                  the end, status 0
 *     75                 restart at once (wanted: an upgrade)
 *     64, 78, 127        in the first incarnation the end with that status: a wrong command line or configuration
 *     anything else      restart at once; when QUICK_DEATHS incarnations in a row have lived for less than 5 s
 *                        (--quick), after a pause that doubles from 50 ms to 10 s
 *
 * SIGTERM, SIGINT and SIGHUP are passed on. After SIGTERM or SIGINT a child that crashes instead of ending is still
 * started again, and told again to end, since only an orderly end unmounts: a file system on the device would
 * otherwise get errors. Three quick deaths in a row then end the angel too.
 *
 * Two copies must never write: a successor starts only after waitpid has reported the death of its predecessor, which
 * the kernel does after all its threads and its asynchronous I/O are gone. One exception, or both would wait for
 * ever: a thread of the dead daemon that waits for a FUSE answer (a loop ioctl on its own device) can only be
 * answered by the successor. When after STUCK_S seconds every thread left is seen to wait in FUSE, and nowhere else,
 * the successor is started beside it. A thread that waits for the disk below is never passed over: its write could
 * land after a later write of the successor.
 *
 * PR_SET_PDEATHSIG is not set. When the angel is killed, its child serves on undisturbed with its own copies of the
 * descriptors; only the next crash then gives errors. The other choice would give them at once.
 *
 * The angel never kills by itself: whether a silent daemon is dead or waits for a slow disk cannot be seen from here.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  FIRST_FUSE_FD = 3,
  MAX_FUSE = 256,
  EXIT_RESTART = 75,
  EXIT_USAGE_ERROR = 64,
  EXIT_CONFIG_ERROR = 78,
  EXIT_NO_PROGRAM = 127,
  QUICK_MS = 5000,
  QUICK_DEATHS = 3,
  PAUSE_FIRST_MS = 50,
  PAUSE_MAX_MS = 10000,
  STUCK_S = 5,
  /* A successor needs this long to be ready for a SIGTERM; before, the default action would kill it. */
  TERM_AGAIN_MS = 2000,
};

static const char *log_prefix = "angel";
static int quick_ms = QUICK_MS;

static void note(const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(stderr, "%s: %s\n", log_prefix, text);
}

static void fatal(const char *what) {
  note("%s: %s", what, strerror(errno));
  exit(1);
}

static void usage(void) {
  fprintf(stderr, "usage: angel [--fuse N] [--pidfile FILE] [--log-prefix TEXT] [--quick MS] -- program [argument ...]\n");
  exit(EXIT_USAGE_ERROR);
}

static long long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Opened above the numbers that the child gets, so that dup2 never hits one that is still needed. */
static int open_fuse(int count) {
  int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) fatal("cannot open /dev/fuse");
  int held = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FUSE_FD + count);
  if (held < 0) fatal("cannot keep a /dev/fuse descriptor");
  close(fd);
  return held;
}

/* Locked while we live, so that a second angel with the same file refuses to start. */
static void write_pidfile(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) fatal(path);
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    note("%s is locked: an angel runs already", path);
    exit(1);
  }
  char text[32];
  int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
  if (ftruncate(fd, 0) < 0 || write(fd, text, (size_t)length) != length) fatal(path);
}

/* Best effort: without the rights for it the angel works as well, only less protected. */
static void protect(void) {
  if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0) note("cannot lock memory: %s", strerror(errno));
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, "-1000", 5) < 0) note("not protected from the OOM killer: %s", strerror(errno));
  close(fd);
}

static void set_number(const char *name, long value) {
  char text[32];
  snprintf(text, sizeof text, "%ld", value);
  setenv(name, text, 1);
}

static pid_t start(char **program, const int *fuse, int fuse_count, unsigned incarnation) {
  pid_t angel = getpid();
  pid_t pid = fork();
  if (pid != 0) return pid;
  /* A group of its own: ^C at the terminal reaches the angel alone, which passes it on once. */
  setpgid(0, 0);
  for (int i = 0; i < fuse_count; i++) {
    if (dup2(fuse[i], FIRST_FUSE_FD + i) < 0) _exit(EXIT_NO_PROGRAM);
  }
  if (fuse_count > 0) {
    char range[32];
    snprintf(range, sizeof range, "%d-%d", FIRST_FUSE_FD, FIRST_FUSE_FD + fuse_count - 1);
    setenv("TWINBEAT_FUSE_FDS", range, 1);
  }
  set_number("TWINBEAT_INCARNATION", incarnation);
  set_number("TWINBEAT_ANGEL", angel);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execvp(program[0], program);
  note("cannot run %s: %s", program[0], strerror(errno));
  _exit(EXIT_NO_PROGRAM);
}

/* The whole of a small file of /proc, always with a final 0; its length or -1. */
static int slurp(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t length = read(fd, text, size - 1);
  close(fd);
  if (length < 0) return -1;
  text[length] = 0;
  return (int)length;
}

/* State letter of a thread (R, S, D, Z ...), 0 when it is gone. */
static char thread_state(pid_t pid, const char *tid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/task/%.16s/stat", (int)pid, tid);
  if (slurp(path, text, sizeof text) < 0) return 0;
  const char *name_end = strrchr(text, ')');
  return name_end && name_end[1] == ' ' ? name_end[2] : 0;
}

/* True when SIGKILL has been sent to this thread and it did not get to dying yet. */
static int is_killed(pid_t pid, const char *tid) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/task/%.16s/status", (int)pid, tid);
  if (slurp(path, text, sizeof text) < 0) return 0;
  const char *pending = strstr(text, "\nSigPnd:");
  if (!pending) return 0;
  return (strtoull(pending + 8, NULL, 16) >> (SIGKILL - 1)) & 1;
}

/* True when the thread is seen to wait for a FUSE answer. Not knowing is no. */
static int waits_in_fuse(pid_t pid, const char *tid) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/task/%.16s/stack", (int)pid, tid);
  if (slurp(path, text, sizeof text) > 0) return strstr(text, "fuse_") != NULL;
  snprintf(path, sizeof path, "/proc/%d/task/%.16s/wchan", (int)pid, tid);
  if (slurp(path, text, sizeof text) <= 0) return 0;
  return strstr(text, "fuse_") != NULL || strstr(text, "request_wait_answer") != NULL;
}

enum death { ALIVE, DYING, DYING_IN_FUSE };

/* How far the death of a process is that waitpid does not report yet. */
static enum death look_at(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  DIR *tasks = opendir(path);
  if (!tasks) return ALIVE;
  int dying = 0, left = 0, in_fuse = 0;
  for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
    if (!isdigit((unsigned char)entry->d_name[0])) continue;
    char state = thread_state(pid, entry->d_name);
    if (state == 0) continue;
    if (state == 'Z' || state == 'X') {
      dying = 1;
      continue;
    }
    left++;
    if (is_killed(pid, entry->d_name)) dying = 1;
    if (state == 'D' && waits_in_fuse(pid, entry->d_name)) in_fuse++;
  }
  closedir(tasks);
  if (!dying) return ALIVE;
  return left > 0 && left == in_fuse ? DYING_IN_FUSE : DYING;
}

struct angel {
  char **program;
  int fuse[MAX_FUSE];
  int fuse_count;
  unsigned incarnation;
  pid_t child;             /* 0: none */
  long long started_ms;
  int quick_deaths;        /* in a row */
  int stopping;            /* the signal to end with, 0: none */
  long long restart_ms;    /* when a successor is due; valid while there is no child */
  long long term_again_ms; /* when a successor is told to end; 0: not */
  long long dying_ms;      /* since when the child has been dying; 0: it is not */
  int told_stuck;
};

static void child_started(struct angel *a) {
  a->incarnation++;
  a->child = start(a->program, a->fuse, a->fuse_count, a->incarnation);
  if (a->child < 0) {
    note("cannot fork: %s", strerror(errno));
    a->child = 0;
    a->restart_ms = now_ms() + PAUSE_MAX_MS / 10;
    a->incarnation--;
    return;
  }
  a->started_ms = now_ms();
  a->dying_ms = 0;
  a->told_stuck = 0;
  a->term_again_ms = a->stopping ? a->started_ms + TERM_AGAIN_MS : 0;
}

/* Decides what follows the end of the child. Does not return when this is the end of the angel. */
static void child_ended(struct angel *a, int status) {
  long long lived_ms = now_ms() - a->started_ms;
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  a->child = 0;
  if (code == 0) exit(0);
  int hopeless = code == EXIT_USAGE_ERROR || code == EXIT_CONFIG_ERROR || code == EXIT_NO_PROGRAM;
  if (a->incarnation == 1 && hopeless) exit(code);
  int quick = lived_ms < quick_ms;
  /* A wanted restart is never counted, unless it comes before anything can have been done. */
  if (code == EXIT_RESTART && lived_ms >= PAUSE_FIRST_MS) quick = 0;
  a->quick_deaths = quick ? a->quick_deaths + 1 : 0;
  long long pause_ms = 0;
  if (a->quick_deaths > QUICK_DEATHS) {
    int doublings = a->quick_deaths - QUICK_DEATHS - 1;
    pause_ms = doublings > 8 ? PAUSE_MAX_MS : PAUSE_FIRST_MS << doublings;
    if (pause_ms > PAUSE_MAX_MS) pause_ms = PAUSE_MAX_MS;
  }
  if (WIFSIGNALED(status)) {
    note("incarnation %u was killed by signal %d after %lld ms", a->incarnation, WTERMSIG(status), lived_ms);
  } else if (code == EXIT_RESTART) {
    note("incarnation %u asks for a restart", a->incarnation);
  } else {
    note("incarnation %u ended with status %d after %lld ms", a->incarnation, code, lived_ms);
  }
  if (a->stopping && a->quick_deaths >= QUICK_DEATHS) {
    note("it does not end in an orderly way: giving up; devices in use now get errors");
    exit(1);
  }
  if (pause_ms > 0) note("next start in %lld ms", pause_ms);
  a->restart_ms = now_ms() + pause_ms;
}

/* The death that cannot be reported without a successor; see above. */
static void check_stuck(struct angel *a) {
  enum death death = look_at(a->child);
  if (death == ALIVE) {
    a->dying_ms = 0;
    return;
  }
  if (a->dying_ms == 0) a->dying_ms = now_ms();
  if (now_ms() - a->dying_ms < STUCK_S * 1000) return;
  if (death == DYING_IN_FUSE) {
    note("incarnation %u is dead, but a thread waits for our own device: starting its successor", a->incarnation);
    a->child = 0; /* reaped by waitpid(-1) once it is answered */
    a->restart_ms = now_ms();
  } else if (!a->told_stuck) {
    a->told_stuck = 1;
    note("incarnation %u is dying, but waits for I/O: no successor before that is over", a->incarnation);
  }
}

static void pass_on(struct angel *a, int signal_number) {
  if (signal_number == SIGTERM || signal_number == SIGINT) {
    a->stopping = signal_number;
    a->quick_deaths = 0;
  }
  if (a->child > 0) kill(a->child, signal_number);
  else a->restart_ms = now_ms(); /* in a pause: it ends now, the successor is told to end */
}

static void reap(struct angel *a) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid == a->child) child_ended(a, status);
  }
}

/* How long nothing will happen, unless a signal comes. */
static long long idle_ms(const struct angel *a) {
  long long now = now_ms();
  long long wait_ms = 1000; /* the look at a dying child */
  if (a->child == 0 && a->restart_ms - now < wait_ms) wait_ms = a->restart_ms - now;
  if (a->term_again_ms && a->term_again_ms - now < wait_ms) wait_ms = a->term_again_ms - now;
  return wait_ms < 0 ? 0 : wait_ms;
}

static void __attribute__((noreturn)) serve(struct angel *a, const sigset_t *signals) {
  for (;;) {
    if (a->child == 0 && now_ms() >= a->restart_ms) child_started(a);
    long long wait_ms = idle_ms(a);
    struct timespec timeout = {wait_ms / 1000, (wait_ms % 1000) * 1000000};
    int signal_number = sigtimedwait(signals, NULL, &timeout);
    reap(a);
    if (signal_number > 0 && signal_number != SIGCHLD) pass_on(a, signal_number);
    if (a->child > 0) check_stuck(a);
    if (a->term_again_ms && a->child > 0 && now_ms() >= a->term_again_ms) {
      a->term_again_ms = 0;
      kill(a->child, a->stopping);
    }
  }
}

static int parse_number(const char *option, const char *text, int most) {
  char *end;
  long number = strtol(text, &end, 10);
  if (*text == 0 || *end != 0 || number < 0 || number > most) {
    fprintf(stderr, "angel: %s takes a number from 0 to %d, not '%s'\n", option, most, text);
    exit(EXIT_USAGE_ERROR);
  }
  return (int)number;
}

int main(int argc, char **argv) {
  struct angel a = {0};
  const char *pidfile = NULL;
  int i = 1;
  for (; i < argc && strcmp(argv[i], "--") != 0; i += 2) {
    if (i + 1 >= argc) usage();
    if (strcmp(argv[i], "--fuse") == 0) a.fuse_count = parse_number(argv[i], argv[i + 1], MAX_FUSE);
    else if (strcmp(argv[i], "--pidfile") == 0) pidfile = argv[i + 1];
    else if (strcmp(argv[i], "--log-prefix") == 0) log_prefix = argv[i + 1];
    else if (strcmp(argv[i], "--quick") == 0) quick_ms = parse_number(argv[i], argv[i + 1], 3600000);
    else usage();
  }
  if (i + 1 >= argc) usage();
  a.program = argv + i + 1;

  /* Before the first child: a signal that comes early must not be lost. */
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  signal(SIGPIPE, SIG_IGN);

  for (int n = 0; n < a.fuse_count; n++) a.fuse[n] = open_fuse(a.fuse_count);
  if (pidfile) write_pidfile(pidfile);
  protect();
  serve(&a, &signals);
}
