// Between JavaScript and the engine: argument checks, the event loop, the end of an environment. Plain Node-API; no
// state outside of the objects, since every worker loads the addon anew.
//
// Life of a NativeEngine: the object is held by `self` while its uv handles are open. It is freed when both they are
// closed and the JavaScript object is gone, in either order (at the end of a worker the object goes first).
#include <errno.h>
#include <node_api.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "engine.h"
#include "system.h"

namespace {

using twinbeat::Command;
using twinbeat::Engine;
using twinbeat::EndpointText;
using twinbeat::Event;
using twinbeat::Region;

constexpr int kMaxRounds = 16;       // batches in a row before other things of the loop get their turn
constexpr int kExitWaitMs = 2000;    // at the end of an environment: for operations in flight
constexpr size_t kMaxArguments = 10;

struct Arguments {
  napi_env env;
  napi_value values[kMaxArguments];
  napi_value self = nullptr;
  bool good = true;

  Arguments(napi_env e, napi_callback_info info, size_t wanted) : env(e) {
    size_t count = kMaxArguments;
    good = napi_get_cb_info(env, info, &count, values, &self, nullptr) == napi_ok && count >= wanted;
    if (!good) Fail("too few arguments");
  }
  void Fail(const char* what) {
    bool pending = false;
    napi_is_exception_pending(env, &pending);
    if (!pending) napi_throw_type_error(env, nullptr, what);
    good = false;
  }
  int32_t Int(size_t i) {
    int32_t value = 0;
    if (good && napi_get_value_int32(env, values[i], &value) != napi_ok) Fail("a number is needed");
    return value;
  }
  uint32_t Tag(size_t i) {
    uint32_t value = 0;
    if (good && napi_get_value_uint32(env, values[i], &value) != napi_ok) Fail("a tag is needed");
    return value;
  }
  bool Bool(size_t i) {
    bool value = false;
    if (good && napi_get_value_bool(env, values[i], &value) != napi_ok) Fail("a boolean is needed");
    return value;
  }
  std::string Text(size_t i) {
    size_t length = 0;
    if (!good || napi_get_value_string_utf8(env, values[i], nullptr, 0, &length) != napi_ok) {
      Fail("a string is needed");
      return "";
    }
    std::string text(length, '\0');
    napi_get_value_string_utf8(env, values[i], text.data(), length + 1, &length);
    if (text.find('\0') != std::string::npos) Fail("a string without NUL is needed");
    return text;
  }
};

napi_value Number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

napi_value Text(napi_env env, const std::string& value) {
  napi_value result;
  napi_create_string_utf8(env, value.c_str(), value.size(), &result);
  return result;
}

void FreeRegion(napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<Region>*>(hint); }

// ---- the engine

class Binding {
 public:
  napi_env env = nullptr;
  std::unique_ptr<Engine> engine;
  Command* commands = nullptr;
  size_t commandCapacity = 0;
  Event* events = nullptr;
  size_t eventCapacity = 0;
  napi_ref self = nullptr;
  napi_ref shared = nullptr;    // array that keeps the memory shared with JavaScript
  napi_ref callback = nullptr;  // (count of events) => count of commands
  napi_async_context context = nullptr;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  uv_poll_t poll;
  uv_idle_t idle;
  bool idling = false;
  bool inBatch = false;
  bool stopped = false;
  int owners = 2;  // uv handles, JavaScript object
  int closing = 0;

  // Completions are there that no wake-up will announce: come back in the next round of the loop.
  void ComeBack() {
    if (idling || inBatch || stopped || !engine->NeedsTurn()) return;
    idling = true;
    uv_idle_start(&idle, [](uv_idle_t* h) { static_cast<Binding*>(h->data)->Batches(); });
  }

  void Wake() {
    uint64_t count;
    if (read(engine->wakeFd(), &count, sizeof count) < 0) {
      // Already reset.
    }
    Batches();
  }

  void Batches() {
    if (idling) {
      uv_idle_stop(&idle);
      idling = false;
    }
    if (stopped || inBatch) return;
    inBatch = true;
    engine->SetQuiet(true);
    bool more = true;
    for (int round = 0; more && round < kMaxRounds && !stopped; round++) {
      more = engine->Reap();
      if (engine->HasEvents() && !Deliver()) break;
    }
    inBatch = false;
    if (stopped) return;
    engine->SetQuiet(false);
    // What completed between the last look and now has not written the eventfd.
    engine->Reap();
    ComeBack();
  }

  // One call into JavaScript for all events that fit. False when it threw.
  bool Deliver() {
    napi_handle_scope scope;
    napi_open_handle_scope(env, &scope);
    size_t count = engine->TakeEvents(events, eventCapacity);
    napi_value function, receiver, argument, result;
    napi_get_reference_value(env, callback, &function);
    napi_get_reference_value(env, self, &receiver);
    napi_create_uint32(env, static_cast<uint32_t>(count), &argument);
    napi_status status =
        napi_make_callback(env, context, receiver, function, 1, &argument, &result);
    bool good = status == napi_ok;
    if (good && !stopped) {
      uint32_t queued = 0;
      napi_get_value_uint32(env, result, &queued);
      engine->Execute(commands, queued < commandCapacity ? queued : commandCapacity);
    } else if (status == napi_pending_exception) {
      napi_value error;
      napi_get_and_clear_last_exception(env, &error);
      napi_fatal_exception(env, error);
    }
    napi_close_handle_scope(env, scope);
    return good;
  }

  // Ends everything that the kernel does for this engine, then closes the uv handles.
  void Stop() {
    if (stopped) return;
    stopped = true;
    engine->Shutdown(kExitWaitMs);
    closing = 2;
    uv_poll_stop(&poll);
    uv_idle_stop(&idle);
    auto closed = [](uv_handle_t* h) {
      Binding* b = static_cast<Binding*>(h->data);
      if (--b->closing == 0) b->Closed();
    };
    uv_close(reinterpret_cast<uv_handle_t*>(&poll), closed);
    uv_close(reinterpret_cast<uv_handle_t*>(&idle), closed);
  }

  void Closed() {
    napi_async_cleanup_hook_handle hook = cleanup;
    cleanup = nullptr;
    Release();
    if (hook != nullptr) napi_remove_async_cleanup_hook(hook);
  }

  void Release() {
    if (--owners == 0) delete this;
  }
};

Binding* Self(Arguments& args) {
  void* data = nullptr;
  if (args.good && napi_unwrap(args.env, args.self, &data) != napi_ok) args.Fail("not an engine");
  Binding* b = static_cast<Binding*>(data);
  if (args.good && b->stopped) args.Fail("the engine is stopped");
  return args.good ? b : nullptr;
}

bool TypedMemory(napi_env env, napi_value value, void** data, size_t* bytes) {
  bool is = false;
  if (napi_is_arraybuffer(env, value, &is) != napi_ok || !is) return false;
  return napi_get_arraybuffer_info(env, value, data, bytes) == napi_ok;
}

// (slotBytes, peekCount, peekBytes, commands, events, backlog: ArrayBuffers, callback) => engine object
// Throws an Error with `errno` (number) and `step`.
napi_value Create(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 7);
  int32_t slotBytes = args.Int(0), peekCount = args.Int(1), peekBytes = args.Int(2);
  void *commands = nullptr, *events = nullptr, *backlog = nullptr;
  size_t commandBytes = 0, eventBytes = 0, backlogBytes = 0;
  if (args.good && (!TypedMemory(env, args.values[3], &commands, &commandBytes) ||
                    !TypedMemory(env, args.values[4], &events, &eventBytes) ||
                    !TypedMemory(env, args.values[5], &backlog, &backlogBytes))) {
    args.Fail("three ArrayBuffers are needed");
  }
  if (args.good && (slotBytes < 0 || slotBytes % 4096 != 0 || peekCount < 0 || peekBytes < 0 ||
                    peekBytes % 4096 != 0 || backlogBytes < twinbeat::kMaxHandles * 4)) {
    args.Fail("sizes are multiples of 4096, the backlog has an entry per handle");
  }
  if (!args.good) return nullptr;

  int error = 0;
  const char* why = "memory of the pool";
  std::shared_ptr<Region> region =
      Region::Create(static_cast<size_t>(slotBytes), static_cast<size_t>(peekCount),
                     static_cast<size_t>(peekBytes), &error);
  std::unique_ptr<Engine> engine;
  if (region) engine = Engine::Create(region, static_cast<int32_t*>(backlog), &error, &why);
  if (!engine) {
    napi_value text = Text(env, why), failure;
    napi_create_error(env, nullptr, text, &failure);
    napi_set_named_property(env, failure, "errno", Number(env, -error));
    napi_throw(env, failure);
    return nullptr;
  }

  Binding* b = new Binding();
  b->env = env;
  b->engine = std::move(engine);
  b->commands = static_cast<Command*>(commands);
  b->commandCapacity = commandBytes / sizeof(Command);
  b->events = static_cast<Event*>(events);
  b->eventCapacity = eventBytes / sizeof(Event);

  napi_value object, pool, keep, name;
  napi_create_object(env, &object);
  auto* holder = new std::shared_ptr<Region>(region);
  if (napi_create_external_arraybuffer(env, region->base(), region->bytes(), FreeRegion, holder,
                                       &pool) != napi_ok) {
    delete holder;
    delete b;
    napi_throw_error(env, nullptr, "external ArrayBuffers are not allowed here");
    return nullptr;
  }
  napi_set_named_property(env, object, "memory", pool);
  napi_set_named_property(env, object, "lockErrno", Number(env, -region->lockError()));
  napi_value fixed;
  napi_get_boolean(env, b->engine->fixedBuffers(), &fixed);
  napi_set_named_property(env, object, "fixedBuffers", fixed);
  napi_create_array_with_length(env, 3, &keep);
  for (uint32_t i = 0; i < 3; i++) napi_set_element(env, keep, i, args.values[3 + i]);
  napi_create_reference(env, keep, 1, &b->shared);
  napi_create_reference(env, args.values[6], 1, &b->callback);
  napi_create_string_utf8(env, "twinbeat-io", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, nullptr, name, &b->context);
  napi_wrap(
      env, object, b,
      [](napi_env, void* data, void*) {
        Binding* b = static_cast<Binding*>(data);
        b->Stop();  // the environment ends and its hook has not run: cannot happen, but must not crash
        b->Release();
      },
      nullptr, nullptr);
  napi_create_reference(env, object, 1, &b->self);

  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  b->poll.data = b;
  b->idle.data = b;
  uv_poll_init(loop, &b->poll, b->engine->wakeFd());
  uv_idle_init(loop, &b->idle);
  uv_poll_start(&b->poll, UV_READABLE,
                [](uv_poll_t* h, int, int) { static_cast<Binding*>(h->data)->Wake(); });
  napi_add_async_cleanup_hook(
      env,
      [](napi_async_cleanup_hook_handle handle, void* data) {
        Binding* b = static_cast<Binding*>(data);
        b->cleanup = handle;
        b->Stop();
      },
      b, &b->cleanup);
  return object;
}

// ---- methods (called with the engine object as `this`)

napi_value Submit(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  Binding* b = Self(args);
  int32_t count = args.Int(0);
  if (!args.good) return nullptr;
  if (count < 0 || static_cast<size_t>(count) > b->commandCapacity) {
    args.Fail("more commands than there are");
    return nullptr;
  }
  b->engine->Execute(b->commands, static_cast<size_t>(count));
  b->ComeBack();
  return nullptr;
}

napi_value OpenDisk(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 4);
  Binding* b = Self(args);
  std::string path = args.Text(0);
  bool write = args.Bool(1), exclusive = args.Bool(2);
  uint32_t tag = args.Tag(3);
  if (args.good) b->engine->OpenDisk(path, write, exclusive, tag);
  return nullptr;
}

// (remote family host port, local family host port (family 0: none), timeoutMs, sendBytes, receiveBytes, tag)
napi_value Connect(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 10);
  Binding* b = Self(args);
  EndpointText remote{args.Int(0), args.Text(1), args.Int(2)};
  EndpointText local{args.Int(3), args.Text(4), 0};
  int32_t timeoutMs = args.Int(5), sendBytes = args.Int(6), receiveBytes = args.Int(7);
  uint32_t tag = args.Tag(8);
  if (!args.good) return nullptr;
  local.port = args.Int(9);
  if (!args.good) return nullptr;
  b->engine->Connect(remote, local.family == 0 ? nullptr : &local, timeoutMs, sendBytes,
                     receiveBytes, tag);
  b->ComeBack();
  return nullptr;
}

napi_value Listen(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 5);
  Binding* b = Self(args);
  EndpointText at{args.Int(0), args.Text(1), args.Int(2)};
  int32_t sendBytes = args.Int(3), receiveBytes = args.Int(4);
  return args.good ? Number(env, b->engine->Listen(at, sendBytes, receiveBytes)) : nullptr;
}

napi_value AttachFuse(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  Binding* b = Self(args);
  int32_t fd = args.Int(0);
  return args.good ? Number(env, b->engine->AttachFuse(fd)) : nullptr;
}

napi_value FuseReply(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 3);
  Binding* b = Self(args);
  int32_t handle = args.Int(0), at = args.Int(1), length = args.Int(2);
  if (!args.good) return nullptr;
  int result = b->engine->FuseReply(handle, at, length);
  b->ComeBack();
  return Number(env, result);
}

// (handle, Float64Array's ArrayBuffer of 8 numbers) => 0 or -errno
napi_value DiskFacts(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 2);
  Binding* b = Self(args);
  int32_t handle = args.Int(0);
  void* data = nullptr;
  size_t bytes = 0;
  if (args.good && (!TypedMemory(env, args.values[1], &data, &bytes) ||
                    bytes < sizeof(twinbeat::DiskFacts))) {
    args.Fail("an ArrayBuffer for eight numbers is needed");
  }
  if (!args.good) return nullptr;
  return Number(env, b->engine->GetDiskFacts(handle, static_cast<twinbeat::DiskFacts*>(data)));
}

napi_value IsDirect(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  Binding* b = Self(args);
  int32_t handle = args.Int(0);
  if (!args.good) return nullptr;
  napi_value result;
  napi_get_boolean(env, b->engine->IsDirect(handle), &result);
  return result;
}

napi_value StreamAlive(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  Binding* b = Self(args);
  int32_t handle = args.Int(0);
  if (!args.good) return nullptr;
  napi_value result;
  napi_get_boolean(env, b->engine->StreamAlive(handle), &result);
  return result;
}

napi_value PeerName(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  Binding* b = Self(args);
  int32_t handle = args.Int(0);
  return args.good ? Text(env, b->engine->PeerName(handle)) : nullptr;
}

napi_value CancelUnowned(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 0);
  Binding* b = Self(args);
  if (!args.good) return nullptr;
  b->engine->CancelUnowned();
  b->ComeBack();
  return nullptr;
}

napi_value InFlight(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 0);
  Binding* b = Self(args);
  return args.good ? Number(env, static_cast<double>(b->engine->inFlight())) : nullptr;
}

napi_value Stop(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 0);
  Binding* b = Self(args);
  if (args.good && b->inBatch) args.Fail("not from inside a batch");
  if (!args.good) return nullptr;
  b->Stop();
  for (napi_ref* ref : {&b->self, &b->callback, &b->shared}) {
    napi_delete_reference(env, *ref);
    *ref = nullptr;
  }
  napi_async_destroy(env, b->context);
  b->context = nullptr;
  return nullptr;
}

// ---- the system

napi_value MountFuse(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 3);
  int32_t fd = args.Int(0);
  std::string path = args.Text(1), source = args.Text(2);
  return args.good ? Number(env, twinbeat::MountFuse(fd, path, source)) : nullptr;
}

napi_value Unmount(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 2);
  std::string path = args.Text(0);
  bool lazy = args.Bool(1);
  return args.good ? Number(env, twinbeat::Unmount(path, lazy)) : nullptr;
}

napi_value OpenDescriptor(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 2);
  std::string path = args.Text(0);
  int32_t flags = args.Int(1);
  return args.good ? Number(env, twinbeat::OpenDescriptor(path, flags)) : nullptr;
}

napi_value CloseDescriptor(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  int32_t fd = args.Int(0);
  return args.good ? Number(env, twinbeat::CloseDescriptor(fd)) : nullptr;
}

napi_value SetCloseOnExec(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  int32_t fd = args.Int(0);
  return args.good ? Number(env, twinbeat::SetCloseOnExec(fd)) : nullptr;
}

// (path, [argument ...]) => -errno; does not return when it works
napi_value Exec(napi_env env, napi_callback_info info) {
  napi_value list;
  size_t count = 1;
  uint32_t length = 0;
  napi_get_cb_info(env, info, &count, &list, nullptr, nullptr);
  if (count != 1 || napi_get_array_length(env, list, &length) != napi_ok || length == 0) {
    napi_throw_type_error(env, nullptr, "exec: an array of strings");
    return nullptr;
  }
  std::vector<std::string> argv;
  for (uint32_t i = 0; i < length; i++) {
    napi_value word;
    size_t bytes = 0;
    napi_get_element(env, list, i, &word);
    if (napi_get_value_string_utf8(env, word, nullptr, 0, &bytes) != napi_ok) {
      napi_throw_type_error(env, nullptr, "exec: an array of strings");
      return nullptr;
    }
    std::string text(bytes, '\0');
    napi_get_value_string_utf8(env, word, text.data(), bytes + 1, &bytes);
    argv.push_back(text);
  }
  return Number(env, twinbeat::Exec(argv));
}

void FreeMapping(napi_env, void* base, void* hint) {
  twinbeat::UnmapFile(base, reinterpret_cast<size_t>(hint));
}

// path, bytes => ArrayBuffer, or -errno
napi_value MapFile(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 2);
  std::string path = args.Text(0);
  int32_t bytes = args.Int(1);
  if (args.good && bytes <= 0) args.Fail("a size above 0");
  if (!args.good) return nullptr;
  void* base = nullptr;
  int error = twinbeat::MapFile(path, static_cast<size_t>(bytes), &base);
  if (error != 0) return Number(env, error);
  napi_value memory;
  void* hint = reinterpret_cast<void*>(static_cast<size_t>(bytes));
  if (napi_create_external_arraybuffer(env, base, static_cast<size_t>(bytes), FreeMapping, hint,
                                       &memory) != napi_ok) {
    twinbeat::UnmapFile(base, static_cast<size_t>(bytes));
    napi_throw_error(env, nullptr, "external ArrayBuffers are not allowed here");
    return nullptr;
  }
  return memory;
}

napi_value MemoryFile(napi_env env, napi_callback_info) {
  return Number(env, twinbeat::MemoryFile());
}

napi_value LockCode(napi_env env, napi_callback_info) {
  return Number(env, twinbeat::LockCode());
}

napi_value SetRealtime(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  int32_t priority = args.Int(0);
  return args.good ? Number(env, twinbeat::SetRealtime(priority)) : nullptr;
}

napi_value ExitNow(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  int32_t status = args.Int(0);
  if (args.good) twinbeat::ExitNow(status);
  return nullptr;
}

// => [[name, family, address, netmask, broadcast] ...], or -errno
napi_value Interfaces(napi_env env, napi_callback_info) {
  std::vector<twinbeat::InterfaceAddress> all;
  int error = twinbeat::Interfaces(&all);
  if (error != 0) return Number(env, error);
  napi_value list;
  napi_create_array_with_length(env, all.size(), &list);
  uint32_t at = 0;
  for (const auto& one : all) {
    napi_value row;
    napi_create_array_with_length(env, 5, &row);
    napi_set_element(env, row, 0, Text(env, one.name));
    napi_set_element(env, row, 1, Number(env, one.family));
    napi_set_element(env, row, 2, Text(env, one.address));
    napi_set_element(env, row, 3, Text(env, one.netmask));
    napi_set_element(env, row, 4, Text(env, one.broadcast));
    napi_set_element(env, list, at++, row);
  }
  return list;
}

// descriptor => [pid, uid, gid], or -errno
napi_value PeerCredentials(napi_env env, napi_callback_info info) {
  Arguments args(env, info, 1);
  int32_t fd = args.Int(0);
  if (!args.good) return nullptr;
  twinbeat::Credentials who = {};
  int error = twinbeat::PeerCredentials(fd, &who);
  if (error != 0) return Number(env, error);
  napi_value row;
  napi_create_array_with_length(env, 3, &row);
  napi_set_element(env, row, 0, Number(env, who.pid));
  napi_set_element(env, row, 1, Number(env, who.uid));
  napi_set_element(env, row, 2, Number(env, who.gid));
  return row;
}

napi_value SetIoFlusher(napi_env env, napi_callback_info) {
  return Number(env, twinbeat::SetIoFlusher());
}

// => [errno or 0, step]
napi_value HaveIoUring(napi_env env, napi_callback_info) {
  const char* why = "";
  int error = twinbeat::HaveIoUring(&why);
  napi_value result;
  napi_create_array_with_length(env, 2, &result);
  napi_set_element(env, result, 0, Number(env, -error));
  napi_set_element(env, result, 1, Text(env, error == 0 ? "" : why));
  return result;
}

}  // namespace

NAPI_MODULE_INIT() {
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {
      {"create", Create},
      {"submit", Submit},
      {"openDisk", OpenDisk},
      {"connect", Connect},
      {"listen", Listen},
      {"attachFuse", AttachFuse},
      {"fuseReply", FuseReply},
      {"diskFacts", DiskFacts},
      {"isDirect", IsDirect},
      {"streamAlive", StreamAlive},
      {"peerName", PeerName},
      {"cancelUnowned", CancelUnowned},
      {"inFlight", InFlight},
      {"stop", Stop},
      {"mountFuse", MountFuse},
      {"unmount", Unmount},
      {"openDescriptor", OpenDescriptor},
      {"closeDescriptor", CloseDescriptor},
      {"setCloseOnExec", SetCloseOnExec},
      {"exec", Exec},
      {"mapFile", MapFile},
      {"memoryFile", MemoryFile},
      {"lockCode", LockCode},
      {"setRealtime", SetRealtime},
      {"exitNow", ExitNow},
      {"interfaces", Interfaces},
      {"peerCredentials", PeerCredentials},
      {"setIoFlusher", SetIoFlusher},
      {"haveIoUring", HaveIoUring},
  };
  for (const auto& f : functions) {
    napi_value value;
    napi_create_function(env, f.name, NAPI_AUTO_LENGTH, f.function, nullptr, &value);
    napi_set_named_property(env, exports, f.name, value);
  }
  return exports;
}
