// Rows: the identity registry through the service SDK, and what it does not
// call as a program without an SDK does. input: also readOnly and wrongKey,
// connection strings.
'use strict';

const { Registry } = require('azure-iothub');
const { input, run } = require('./input');
const { check, equal, refused, rows } = require('./rows');
const { close, fresh, registry, rest } = require('./hub');

let last = 0;
const name = () => {
  last += 1;
  return `reg-${last}`;
};

const body = async (promise) => (await promise).responseBody;

// refusal gives status and code of what REST refuses.
const refusal = (answer) => {
  check(/^ErrorCode:[A-Za-z]+;/.test(answer.json.Message), 'the form of the error', answer.text);
  return [answer.status, answer.headers.get('iothub-errorcode')];
};

const key = (text) => Buffer.from(text.padEnd(32, '.')).toString('base64');

run(() => rows({
  'a device is created, with keys': async () => {
    const deviceId = name();
    const d = await body(registry.create({ deviceId, status: 'enabled', statusReason: 'new' }));
    const keys = d.authentication.symmetricKey;
    check(Buffer.from(keys.primaryKey, 'base64').length >= 16 && keys.primaryKey !== keys.secondaryKey, 'the keys', keys);
    equal([d.deviceId, d.connectionState, d.status, d.statusReason, d.authentication.type, d.cloudToDeviceMessageCount, d.capabilities],
      [deviceId, 'Disconnected', 'enabled', 'new', 'sas', 0, { iotEdge: false }]);
    check(/^\d+$/.test(d.generationId) && d.etag, 'generation and etag', d);
    await refused(registry.create({ deviceId }), 'DeviceAlreadyExistsError');
    await refused(registry.create({ deviceId: 'no spaces' }), 'ArgumentError');
  },

  'ids with every character that is allowed': async () => {
    for (const deviceId of ["a-b.c+d%_e#f*g?h!i(j),k:l=m@n$o'p", 'x'.repeat(128)]) {
      const d = await body(registry.create({ deviceId }));
      equal((await body(registry.get(deviceId))).etag, d.etag);
      equal((await body(registry.getTwin(deviceId))).deviceId, deviceId);
      await registry.delete(deviceId);
    }
    await refused(registry.create({ deviceId: 'x'.repeat(129) }), 'ArgumentError');
  },

  'a device is read': async () => {
    const d = await fresh({ statusReason: 'why' });
    const got = await body(registry.get(d.device));
    equal([got.etag, got.statusReason, got.authentication.symmetricKey], [d.identity.etag, 'why', d.identity.authentication.symmetricKey]);
    await refused(registry.get('missing'), 'DeviceNotFoundError');
  },

  'a device is changed': async () => {
    const d = await fresh();
    const primaryKey = key('0123456789abcdef');
    const { secondaryKey } = d.identity.authentication.symmetricKey;
    const changed = await body(registry.update({
      deviceId: d.device, status: 'disabled', statusReason: 'test', authentication: { symmetricKey: { primaryKey, secondaryKey } },
    }));
    equal([changed.status, changed.generationId, changed.authentication.symmetricKey], ['disabled', d.identity.generationId, { primaryKey, secondaryKey }]);
    check(changed.etag !== d.identity.etag, 'the etag stayed', changed.etag);
    await refused(registry.update({ deviceId: 'missing', status: 'enabled' }), 'DeviceNotFoundError');
  },

  'a stale etag is refused, a fresh one taken': async () => {
    const d = await fresh();
    const put = (etag, statusReason) => rest('PUT', `/devices/${d.device}`, { body: { deviceId: d.device, statusReason }, headers: { 'If-Match': etag } });
    const first = await put(`"${d.identity.etag}"`, 'one');
    equal(first.status, 200, first.text);
    equal(refusal(await put(`"${d.identity.etag}"`, 'two')), [412, 'PreconditionFailed']);
    equal((await put(first.json.etag, 'three')).status, 200, 'an etag without quotes');
    equal((await put('*', 'four')).status, 200);
    const none = await rest('PUT', `/devices/${d.device}`, { body: { deviceId: d.device } });
    equal(refusal(none), [409, 'DeviceAlreadyExists']);
    equal(refusal(await rest('DELETE', `/devices/${d.device}`, { headers: { 'If-Match': '"old"' } })), [412, 'PreconditionFailed']);
  },

  'a device is deleted': async () => {
    const d = await fresh();
    await d.add('m');
    await registry.delete(d.device);
    await refused(registry.get(d.device), 'DeviceNotFoundError');
    await refused(registry.getTwin(d.device), 'DeviceNotFoundError');
    await refused(registry.delete(d.device), 'DeviceNotFoundError');
    const again = await body(registry.create({ deviceId: d.device }));
    check(BigInt(again.generationId) > BigInt(d.identity.generationId), 'the generation of a device that is made again', again.generationId);
    equal(await body(registry.getModulesOnDevice(d.device)), []);
  },

  'keys, thumbprints and a CA': async () => {
    const thumbprint = 'AB'.repeat(20);
    for (const [authentication, type] of [
      [{ symmetricKey: { primaryKey: key('a'), secondaryKey: key('b') } }, 'sas'],
      [{ type: 'selfSigned', x509Thumbprint: { primaryThumbprint: thumbprint, secondaryThumbprint: '' } }, 'selfSigned'],
      [{ type: 'certificateAuthority' }, 'certificateAuthority'],
    ]) {
      const d = await body(registry.create({ deviceId: name(), authentication }));
      equal(d.authentication.type, type);
      if (type === 'sas') equal(d.authentication.symmetricKey, authentication.symmetricKey);
      if (type === 'selfSigned') equal(d.authentication.x509Thumbprint.primaryThumbprint, thumbprint);
    }
    await refused(registry.create({ deviceId: name(), authentication: { symmetricKey: { primaryKey: 'not base64!', secondaryKey: key('b') } } }), 'ArgumentError');
  },

  'an edge device and what is below it': async () => {
    const edge = await body(registry.create({ deviceId: name(), capabilities: { iotEdge: true } }));
    check(edge.deviceScope.startsWith(`ms-azure-iot-edge://${edge.deviceId}-`), 'the scope', edge);
    const leaf = await body(registry.create({ deviceId: name(), deviceScope: edge.deviceScope }));
    equal(leaf.deviceScope, edge.deviceScope);
    equal((await body(registry.getModulesOnDevice(edge.deviceId))).map((m) => m.moduleId).sort(), ['$edgeAgent', '$edgeHub']);
  },

  'modules are created, read, listed, changed and removed': async () => {
    const d = await fresh();
    const module = await body(registry.addModule({ deviceId: d.device, moduleId: 'camera', managedBy: 'test' }));
    check(module.moduleId === 'camera' && module.authentication.symmetricKey.primaryKey && module.generationId, 'the module', module);
    equal((await body(registry.getModulesOnDevice(d.device))).map((m) => m.moduleId), ['camera']);
    equal((await body(registry.getModule(d.device, 'camera'))).etag, module.etag);
    equal((await body(registry.updateModule({ deviceId: d.device, moduleId: 'camera', managedBy: 'other' }, true))).managedBy, 'other');
    await refused(registry.updateModule({ deviceId: d.device, moduleId: 'camera', managedBy: 'third', etag: module.etag }, false), 'InvalidEtagError');
    // The SDK has no class of its own for a missing module.
    await refused(registry.getModule(d.device, 'missing'), 'Error');
    const twice = await rest('PUT', `/devices/${d.device}/modules/camera`, { body: { deviceId: d.device, moduleId: 'camera' } });
    equal(refusal(twice), [409, 'ModuleAlreadyExistsOnDevice']);
    await registry.removeModule(d.device, 'camera');
    await refused(registry.getModule(d.device, 'camera'), 'Error');
  },

  'a hundred devices with one call': async () => {
    const prefix = name();
    const many = Array.from({ length: 100 }, (_, i) => ({ deviceId: `${prefix}-${i}` }));
    const added = await body(registry.addDevices(many));
    equal([added.isSuccessful, added.errors], [true, []]);
    let again;
    try {
      again = await body(registry.addDevices(many.slice(0, 2)));
    } catch (err) {
      again = JSON.parse(err.responseBody);
    }
    equal([again.isSuccessful, again.errors.map((e) => [e.deviceId, e.errorCode])],
      [false, many.slice(0, 2).map((d) => [d.deviceId, 'DeviceAlreadyExists'])]);
    equal((await body(registry.updateDevices(many.slice(0, 3).map((d) => ({ ...d, status: 'disabled' })), true))).isSuccessful, true);
    equal((await body(registry.get(many[1].deviceId))).status, 'disabled');
    const all = await body(registry.list());
    equal(all.filter((d) => d.deviceId.startsWith(`${prefix}-`)).length, 100);
    equal((await body(registry.removeDevices(many, true))).isSuccessful, true);
    await refused(registry.get(many[5].deviceId), 'DeviceNotFoundError');
  },

  'more than a hundred are refused': async () => {
    const many = Array.from({ length: 101 }, (_, i) => ({ id: `many-${i}`, importMode: 'create' }));
    equal(refusal(await rest('POST', '/devices', { body: many })), [413, 'TooManyDevices']);
    await refused(registry.get('many-0'), 'DeviceNotFoundError');
  },

  'a bulk call changes twins': async () => {
    const d = await fresh();
    const answer = await rest('POST', '/devices', {
      body: [{ id: d.device, importMode: 'updateTwin', tags: { site: 'north' }, properties: { desired: { on: true } } }],
    });
    equal([answer.status, answer.json], [200, { isSuccessful: true, errors: [], warnings: [] }], answer.text);
    const twin = await d.twin();
    equal([twin.tags, twin.properties.desired.on], [{ site: 'north' }, true]);
  },

  'lists have a length': async () => {
    await fresh();
    await fresh();
    const two = await rest('GET', '/devices', { query: '&top=2' });
    equal([two.status, two.json.length], [200, 2]);
    for (const top of ['0', 'x']) equal((await rest('GET', '/devices', { query: `&top=${top}` })).status, 400, top);
    const slash = await rest('GET', '/devices/', { query: '&top=1' });
    equal([slash.status, slash.json.length], [200, 1]);
  },

  'statistics': async () => {
    const d = await fresh({ status: 'disabled' });
    const counts = await body(registry.getRegistryStatistics());
    check(counts.totalDeviceCount >= 1 && counts.disabledDeviceCount >= 1
      && counts.enabledDeviceCount + counts.disabledDeviceCount === counts.totalDeviceCount, 'the counts', counts);
    const on = await fresh();
    const client = await on.connect({ transport: 'mqtt-ws' });
    const service = await rest('GET', '/statistics/service');
    check(service.status === 200 && service.json.connectedDeviceCount >= 1, 'connected devices', service.text);
    equal(await body(registry.get(on.device)).then((x) => x.connectionState), 'Connected');
    await close(client);
    await registry.delete(d.device);
  },

  'a policy that may only read': async () => {
    const d = await fresh();
    const reader = Registry.fromConnectionString(input.readOnly);
    equal((await body(reader.get(d.device))).deviceId, d.device);
    check(Array.isArray(await body(reader.list())), 'a list');
    await refused(reader.create({ deviceId: name() }), 'UnauthorizedError');
    await refused(reader.getTwin(d.device), 'UnauthorizedError');
  },

  'a wrong key': async () => {
    await refused(Registry.fromConnectionString(input.wrongKey).list(), 'UnauthorizedError');
    const answer = await rest('GET', '/devices', { token: 'SharedAccessSignature sr=x&sig=x&se=1' });
    equal(answer.status, 401, answer.text);
  },

  'what is no request is refused': async () => {
    const d = await fresh();
    const bad = [
      ['PUT', `/devices/${d.device}x`, '{', 400], ['PUT', `/devices/${d.device}x`, '{"deviceId":"other"}', 400],
      ['PUT', `/devices/${d.device}x`, '[]', 400], ['POST', '/devices', '{}', 400], ['POST', '/devices', '[]', 400],
      ['PATCH', `/devices/${d.device}`, '{}', 405], ['GET', '/nothing', undefined, 404],
    ];
    for (const [method, path, text, status] of bad) {
      const answer = await rest(method, path, { body: text, headers: text ? { 'Content-Type': 'application/json' } : {} });
      equal(answer.status, status, `${method} ${path} ${text}: ${answer.text}`);
    }
  },
}));
