/** In which order drbdd does what it is asked (src/host/change-order.ts). */
import test from 'ava';
import { ChangeOrder } from '../../src/host/change-order.js';

class Asked {
  readonly order = new ChangeOrder();
  readonly begun: string[] = [];
  readonly #ends = new Map<string, () => void>();

  ask(verb: string, key = 'r0'): void {
    const name = `${key} ${verb}`;
    const begin = (done: () => void): void => {
      this.begun.push(name);
      this.#ends.set(name, done);
    };
    this.order.add({ key, verb, begin });
  }

  end(name: string): void {
    const end = this.#ends.get(name);
    if (!end) throw new Error(`${name} was not begun`);
    end();
  }
}

test('changes of one resource: one after the other, as they were asked', (t) => {
  const a = new Asked();
  for (const verb of ['attach', 'connect', 'disk-options']) a.ask(verb);
  t.deepEqual(a.begun, ['r0 attach']);
  a.end('r0 attach');
  t.deepEqual(a.begun, ['r0 attach', 'r0 connect']);
  a.end('r0 connect');
  a.end('r0 disk-options');
  t.true(a.order.idle);
});

test('resources do not wait for each other', (t) => {
  const a = new Asked();
  a.ask('primary', 'r0');
  a.ask('primary', 'r1');
  a.ask('attach', 'r2');
  t.deepEqual(a.begun, ['r0 primary', 'r1 primary', 'r2 attach']);
});

test('a promotion that waits is overtaken by resume-io, disconnect and down, and by nothing else', (t) => {
  const a = new Asked();
  for (const verb of [
    'primary',
    'connect',
    'outdate',
    'resume-io',
    'disconnect',
    'down',
    'secondary',
  ])
    a.ask(verb);
  t.deepEqual(a.begun, ['r0 primary', 'r0 resume-io', 'r0 disconnect', 'r0 down']);
  a.end('r0 primary');
  t.is(a.begun.length, 4, 'the others wait for those that have overtaken it, too');
  for (const verb of ['down', 'resume-io', 'disconnect']) a.end(`r0 ${verb}`);
  t.is(a.begun.at(-1), 'r0 connect');
});

test('what is in the middle of a change of objects is not overtaken', (t) => {
  const a = new Asked();
  a.ask('attach');
  a.ask('down');
  a.ask('disconnect');
  t.deepEqual(a.begun, ['r0 attach']);
  a.end('r0 attach');
  t.deepEqual(a.begun, ['r0 attach', 'r0 down', 'r0 disconnect']);
});

test('nothing overtakes its own kind; what waits is not begun because something overtook', (t) => {
  const a = new Asked();
  for (const verb of ['secondary', 'primary', 'down']) a.ask(verb);
  a.ask('down', 'r0');
  t.deepEqual(a.begun, ['r0 secondary', 'r0 down']);
  a.end('r0 secondary');
  t.is(a.begun.length, 2);
  a.end('r0 down');
  t.deepEqual(a.begun.slice(2), ['r0 primary', 'r0 down']);
});

test('an end counts once, and may come inside the beginning', (t) => {
  const order = new ChangeOrder();
  const begun: number[] = [];
  for (const n of [1, 2, 3]) {
    const begin = (done: () => void): void => {
      begun.push(n);
      done();
      done();
    };
    order.add({ key: 'r0', verb: 'attach', begin });
  }
  t.deepEqual(begun, [1, 2, 3]);
  let idle = false;
  order.whenIdle(() => {
    idle = true;
  });
  t.true(idle);
});

test('whoever waits for the end of all changes is told once, behind the last one', (t) => {
  const a = new Asked();
  a.ask('attach', 'r0');
  a.ask('primary', 'r1');
  let told = 0;
  a.order.whenIdle(() => told++);
  a.end('r0 attach');
  t.is(told, 0);
  a.end('r1 primary');
  t.is(told, 1);
});
