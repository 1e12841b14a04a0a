// Rows: device and module twins, with the device SDK at one end and the
// service SDK at the other.
'use strict';

const { run } = require('./input');
const { check, equal, refused, rows, until } = require('./rows');
const { close, fresh, registry, rest } = require('./hub');

const report = (twin, patch) => new Promise((resolve, reject) => {
  twin.properties.reported.update(patch, (err) => (err ? reject(err) : resolve()));
});

// watch lists what a device is told of its desired properties from now on.
// Listening also gives the state that the twin has; that is not in the list.
const watch = async (twin) => {
  let seen = [];
  twin.on('properties.desired', (patch) => seen.push(JSON.parse(JSON.stringify(patch))));
  await new Promise((resolve) => setImmediate(resolve));
  await twin.get(); // the subscription was sent before this
  await new Promise((resolve) => setImmediate(resolve));
  seen.length = 0;
  return seen;
};

const bare = (section) => {
  const { $version, $metadata, ...values } = section;
  return values;
};

const nested = (depth) => (depth === 0 ? 1 : { n: nested(depth - 1) });

run(() => rows({
  'a new twin as the service reads it': async () => {
    const d = await fresh();
    const t = await d.twin();
    equal([t.deviceId, t.etag, t.version, t.connectionState, t.status], [d.device, 'AAAAAAAAAAE=', 2, 'Disconnected', 'enabled']);
    const never = { $metadata: { $lastUpdated: '0001-01-01T00:00:00Z' }, $version: 1 };
    equal([t.properties.desired, t.properties.reported], [never, never]);
    equal([t.authenticationType, t.capabilities, t.cloudToDeviceMessageCount], ['sas', { iotEdge: false }, 0]);
  },

  'a new twin as the device reads it': async () => {
    const client = await (await fresh()).connect();
    const twin = await client.getTwin();
    equal([twin.properties.desired, bare(twin.properties.reported).$version, twin.properties.reported.$version], [{ $version: 1 }, undefined, 1]);
    await close(client);
  },

  'the device reads what the service wrote, without tags and metadata': async () => {
    const d = await fresh();
    await d.update({ tags: { site: 'north' }, properties: { desired: { interval: 5, place: { room: 'é 50% + 1' }, list: [1, null, { a: [] }] } } });
    const client = await d.connect();
    const twin = await client.getTwin();
    equal(twin.properties.desired.interval, 5);
    equal(twin.properties.desired.place, { room: 'é 50% + 1' });
    check(!JSON.stringify(twin.properties).includes('$metadata') && twin.tags === undefined, 'the device sees too much', twin.properties);
    await close(client);
  },

  'the service sees reported properties with their metadata': async () => {
    const d = await fresh();
    const client = await d.connect();
    const twin = await client.getTwin();
    const before = await d.twin();
    await report(twin, { firmware: '1.2', battery: { level: 87.5, charging: false }, long: 4503599627370495, low: -4503599627370495, none: [] });
    const t = await d.twin();
    equal(bare(t.properties.reported), { firmware: '1.2', battery: { level: 87.5, charging: false }, long: 4503599627370495, low: -4503599627370495, none: [] });
    equal([t.properties.reported.$version, t.version, t.etag], [2, before.version + 1, before.etag]);
    const at = Date.parse(t.properties.reported.$metadata.battery.level.$lastUpdated);
    check(Math.abs(Date.now() - at) < 60000, 'the time of battery.level', t.properties.reported.$metadata);
    check(t.properties.reported.$metadata.battery.$lastUpdated && t.properties.reported.$metadata.$lastUpdated, 'times of objects', t.properties.reported.$metadata);
    equal(t.connectionState, 'Connected');
    await close(client);
  },

  'a report is merged, and null removes': async () => {
    const d = await fresh();
    const client = await d.connect();
    const twin = await client.getTwin();
    await report(twin, { a: 1, deep: { b: 2, c: 3, d: { e: 4 } }, scalar: 5 });
    await report(twin, { deep: { b: null, d: { f: 6 } }, scalar: { now: 'object' } });
    await report(twin, { a: null, missing: null });
    const t = await d.twin();
    equal(bare(t.properties.reported), { deep: { c: 3, d: { e: 4, f: 6 } }, scalar: { now: 'object' } });
    equal(t.properties.reported.$version, 4);
    check(!('a' in t.properties.reported.$metadata) && !('b' in t.properties.reported.$metadata.deep), 'metadata of removed properties', t.properties.reported.$metadata);
    const again = await client.getTwin();
    await again.get();
    equal(again.properties.reported.deep, { c: 3, d: { e: 4, f: 6 } });
    await close(client);
  },

  'reports of one device keep their order': async () => {
    const d = await fresh();
    const client = await d.connect();
    const twin = await client.getTwin();
    await Promise.all(Array.from({ length: 50 }, (_, i) => report(twin, { last: i, [`p${i}`]: i })));
    const t = await d.twin();
    equal([t.properties.reported.last, t.properties.reported.$version, Object.keys(bare(t.properties.reported)).length], [49, 51, 51]);
    await close(client);
  },

  'the device is told of desired changes in order': async () => {
    const d = await fresh();
    const client = await d.connect();
    const twin = await client.getTwin();
    const seen = await watch(twin);
    for (let i = 0; i < 30; i++) await d.desire({ step: i, [`p${i % 3}`]: { at: i } });
    await until(() => seen.length >= 30, () => `${seen.length} of 30 changes`);
    equal(seen, Array.from({ length: 30 }, (_, i) => ({ step: i, [`p${i % 3}`]: { at: i }, $version: i + 2 })));
    equal(twin.properties.desired, { p0: { at: 27 }, p1: { at: 28 }, p2: { at: 29 }, step: 29, $version: 31 });
    await close(client);
  },

  'desired changes made at once arrive in the order of their versions': async () => {
    const d = await fresh();
    const client = await d.connect();
    const twin = await client.getTwin();
    const seen = await watch(twin);
    await Promise.all(Array.from({ length: 30 }, (_, i) => d.desire({ [`p${i}`]: i })));
    await until(() => seen.length >= 30, () => `${seen.length} of 30 changes`);
    equal(seen.map((s) => s.$version), Array.from({ length: 30 }, (_, i) => i + 2));
    equal(Object.keys(bare(twin.properties.desired)).length, 30);
    await close(client);
  },

  'the device is told of removals, nested ones too': async () => {
    const d = await fresh();
    await d.desire({ keep: 1, go: 2, deep: { keep: 3, go: 4, deeper: { go: 5 } } });
    const client = await d.connect();
    const twin = await client.getTwin();
    const seen = await watch(twin);
    await d.desire({ go: null, deep: { go: null, deeper: null } });
    await until(() => seen.length >= 1, 'the change');
    equal(seen, [{ go: null, deep: { go: null, deeper: null }, $version: 3 }]);
    equal(bare(twin.properties.desired), { keep: 1, deep: { keep: 3 } });
    equal(bare((await d.twin()).properties.desired), { keep: 1, deep: { keep: 3 } });
    await close(client);
  },

  'clearing the whole section removes each property at the device': async () => {
    const d = await fresh();
    await d.desire({ a: 1, b: { c: 2 } });
    const client = await d.connect();
    const twin = await client.getTwin();
    const seen = await watch(twin);
    await d.update({ properties: { desired: null } });
    await until(() => seen.length >= 1, 'the change');
    equal(seen, [{ a: null, b: null, $version: 3 }]);
    equal(bare(twin.properties.desired), {});
    equal(bare((await d.twin()).properties.desired), {});
    await close(client);
  },

  'a listener on one property hears of that property': async () => {
    const d = await fresh();
    const client = await d.connect();
    const twin = await client.getTwin();
    const levels = [];
    twin.on('properties.desired.lamp.level', (level) => levels.push(level));
    await watch(twin);
    await d.desire({ lamp: { level: 1 } });
    await d.desire({ other: true });
    await d.desire({ lamp: { level: 2 } });
    await until(() => levels.length >= 2, 'two levels');
    equal(levels, [1, 2]);
    await close(client);
  },

  'a replaced twin is told whole': async () => {
    const d = await fresh();
    await d.update({ tags: { old: 1 }, properties: { desired: { old: 1, both: 2 } } });
    const client = await d.connect();
    const twin = await client.getTwin();
    const seen = await watch(twin);
    const put = await rest('PUT', d.path, { body: { tags: { fresh: true }, properties: { desired: { both: 3, next: { a: 1 } } } }, headers: { 'If-Match': '*' } });
    equal(put.status, 200, put.text);
    equal([put.json.tags, bare(put.json.properties.desired), put.json.properties.desired.$version], [{ fresh: true }, { both: 3, next: { a: 1 } }, 3]);
    await until(() => seen.length >= 1, 'the change');
    equal(seen, [{ both: 3, next: { a: 1 }, $version: 3 }]);
    await twin.get();
    equal(bare(twin.properties.desired), { both: 3, next: { a: 1 } });
    await close(client);
  },

  'tags are the service\'s alone': async () => {
    const d = await fresh();
    const client = await d.connect();
    const twin = await client.getTwin();
    const seen = await watch(twin);
    const first = await d.update({ tags: { site: { floor: 1, room: 'a' } } });
    const second = await d.update({ tags: { site: { room: null } } });
    equal([first.tags, second.tags], [{ site: { floor: 1, room: 'a' } }, { site: { floor: 1 } }]);
    check(first.etag !== second.etag, 'the etag did not change', second.etag);
    await d.desire({ end: 1 });
    await until(() => seen.length >= 1, 'the change');
    equal(seen, [{ end: 1, $version: 2 }]);
    await close(client);
  },

  'the service updates through the twin object': async () => {
    const d = await fresh();
    const twin = await d.twin();
    await twin.update({ properties: { desired: { a: 1 } } });
    equal(bare((await d.twin()).properties.desired), { a: 1 });
    await twin.update({ properties: { desired: { a: 2 } } });
    await d.desire({ a: 'of somebody else' });
    await refused(twin.update({ properties: { desired: { a: 3 } } }), 'InvalidEtagError'); // it holds the etag that it read last
    await twin.get();
    await twin.update({ properties: { desired: { a: 4 } } });
    equal(bare((await d.twin()).properties.desired), { a: 4 });
  },

  'an old etag is refused': async () => {
    const d = await fresh();
    const before = await d.twin();
    const after = await d.desire({ a: 1 }, before.etag);
    await refused(d.desire({ a: 2 }, before.etag), 'InvalidEtagError');
    equal(bare((await d.desire({ a: 3 }, after.etag)).properties.desired), { a: 3 });
  },

  'only one of many writers with the same etag wins': async () => {
    const d = await fresh();
    const { etag } = await d.twin();
    const won = (await Promise.allSettled(Array.from({ length: 10 }, (_, i) => d.desire({ winner: i }, etag)))).filter((r) => r.status === 'fulfilled');
    equal([won.length, (await d.twin()).properties.desired.$version], [1, 2]);
  },

  'the service cannot write what a twin cannot hold': async () => {
    const d = await fresh();
    await d.desire({ here: 1 });
    for (const bad of [{ 'a.b': 1 }, { 'a$b': 1 }, { 'a b': 1 }, { $own: 1 }, nested(12), { s: 'x'.repeat(4097) }, { n: 1e17 }]) {
      await refused(d.desire(bad), 'ArgumentError');
    }
    await refused(d.desire(Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`s${i}`, 'x'.repeat(4000)]))));
    await refused(d.update({ tags: Object.fromEntries(Array.from({ length: 3 }, (_, i) => [`s${i}`, 'x'.repeat(4000)])) }));
    const t = await d.twin();
    equal([bare(t.properties.desired), t.properties.desired.$version], [{ here: 1 }, 2]);
  },

  'a report with a bad key is refused, and the connection stays': async () => {
    const d = await fresh();
    const client = await d.connect();
    let lost = 0;
    client.on('disconnect', () => { lost += 1; });
    const twin = await client.getTwin();
    for (const bad of [{ 'a.b': 1 }, { 'a b': 1 }, { deep: { 'x$y': 1 } }, { 'bell\u0007': 1 }]) {
      await refused(report(twin, bad), 'Error', /./);
    }
    await refused(report(twin, nested(12)), 'Error', /./);
    await refused(report(twin, { n: 1e17 }), 'Error', /./);
    await refused(report(twin, { s: 'x'.repeat(4097) }), 'Error', /./);
    await report(twin, { good: 1 });
    const t = await d.twin();
    equal([bare(t.properties.reported), t.properties.reported.$version, lost], [{ good: 1 }, 2, 0]);
    await close(client);
  },

  'a report that is too large is refused, and the connection stays': async () => {
    const d = await fresh();
    const client = await d.connect();
    let lost = 0;
    client.on('disconnect', () => { lost += 1; });
    const twin = await client.getTwin();
    await refused(report(twin, Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`s${i}`, 'x'.repeat(4000)]))), 'Error', /32|large|limit/i);
    // In steps, until it is full.
    let full = 0;
    for (let i = 0; i < 12; i++) {
      try {
        await report(twin, { [`s${i}`]: 'x'.repeat(3000) });
      } catch {
        full = full || i;
      }
    }
    equal(full, 10, 'the report at which 32 KB are full');
    await report(twin, { s0: null, good: 1 });
    equal([(await d.twin()).properties.reported.good, lost], [1, 0]);
    await close(client);
  },

  'what was desired while the device was away is there when it comes back': async () => {
    const d = await fresh();
    let client = await d.connect();
    let twin = await client.getTwin();
    await watch(twin);
    await close(client);
    await d.desire({ away: 1 });
    await d.desire({ away: 2 });
    client = await d.connect();
    twin = await client.getTwin();
    equal(twin.properties.desired, { away: 2, $version: 3 });
    const seen = await watch(twin);
    await d.desire({ away: 3 });
    await until(() => seen.length >= 1, 'the change');
    equal(seen, [{ away: 3, $version: 4 }]);
    await close(client);
  },

  'a second connection takes over the twin': async () => {
    const d = await fresh();
    const first = await d.connect();
    first.setRetryPolicy(new (require('azure-iot-common').NoRetry)());
    const old = await watch(await first.getTwin());
    const second = await d.connect();
    const seen = await watch(await second.getTwin());
    await d.desire({ a: 1 });
    await until(() => seen.length >= 1, 'the change');
    equal(old, []);
    await close(second);
    await first.close().catch(() => {});
  },

  'the twin of a module': async () => {
    const d = await fresh();
    const m = await d.add('camera');
    const client = await m.connect();
    const twin = await client.getTwin();
    const seen = await watch(twin);
    await m.update({ tags: { lens: 'wide' }, properties: { desired: { zoom: 2 } } });
    await d.desire({ zoom: 'of the device' });
    await m.desire({ zoom: 3 });
    await until(() => seen.length >= 2, 'two changes');
    equal(seen, [{ zoom: 2, $version: 2 }, { zoom: 3, $version: 3 }]);
    await report(twin, { frames: 25 });
    const t = await m.twin();
    equal([t.deviceId, t.moduleId, t.tags, bare(t.properties.reported), t.connectionState], [d.device, 'camera', { lens: 'wide' }, { frames: 25 }, 'Connected']);
    equal([bare((await d.twin()).properties.reported), (await d.twin()).connectionState], [{}, 'Disconnected']);
    await close(client);
  },

  'the twin of a module is replaced': async () => {
    const m = await (await fresh()).add('m');
    await m.update({ tags: { a: 1, b: 2 }, properties: { desired: { c: 3, d: 4 } } });
    const { etag } = await m.twin();
    const answer = await rest('PUT', m.path, { body: { tags: { b: 5 }, properties: { desired: { d: 6 } } }, headers: { 'If-Match': `"${etag}"` } });
    equal([answer.status, answer.json.tags, bare(answer.json.properties.desired)], [200, { b: 5 }, { d: 6 }], answer.text);
    equal((await rest('PUT', m.path, { body: {}, headers: { 'If-Match': `"${etag}"` } })).status, 412);
    equal([(await m.twin()).tags, bare((await m.twin()).properties.desired)], [{ b: 5 }, { d: 6 }]);
  },

  'device and module are told their own, at the same time': async () => {
    const d = await fresh();
    const m = await d.add('m');
    const [client, module] = [await d.connect(), await m.connect()];
    const [ofDevice, ofModule] = [await watch(await client.getTwin()), await watch(await module.getTwin())];
    await Promise.all([d.desire({ who: 'device' }), m.desire({ who: 'module' })]);
    await until(() => ofDevice.length && ofModule.length, 'both changes');
    equal([ofDevice, ofModule], [[{ who: 'device', $version: 2 }], [{ who: 'module', $version: 2 }]]);
    await close(client);
    await close(module);
  },

  'a re-created device has a new twin': async () => {
    const d = await fresh();
    await d.update({ tags: { a: 1 }, properties: { desired: { a: 1 } } });
    await registry.delete(d.device);
    await refused(d.twin(), 'DeviceNotFoundError');
    await registry.create({ deviceId: d.device });
    const t = await d.twin();
    equal([t.tags || {}, bare(t.properties.desired), t.properties.desired.$version, t.etag], [{}, {}, 1, 'AAAAAAAAAAE=']);
  },

  'the twin of an unknown device': async () => {
    await refused(registry.getTwin('nobody'), 'DeviceNotFoundError');
    await refused(registry.updateTwin('nobody', { tags: {} }, '*'), 'DeviceNotFoundError');
    const d = await fresh();
    await refused(registry.getModuleTwin(d.device, 'nobody'));
    const answer = await rest('GET', `/twins/${d.device}/modules/nobody`);
    equal([answer.status, answer.headers.get('iothub-errorcode')], [404, 'ModuleNotFound']);
  },
}));
