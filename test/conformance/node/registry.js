// Drives the registry of the service SDK through its whole surface and prints
// one line per step. input: connectionString, prefix.
'use strict';

const { Registry } = require('azure-iothub');
const { input, print, run } = require('./input');

const registry = Registry.fromConnectionString(input.connectionString);
const id = (n) => `${input.prefix}${n}`;

const expect = (step, condition, seen) => {
  if (!condition) throw new Error(`${step}: ${JSON.stringify(seen)}`);
  print({ step });
};

const refused = async (step, name, call) => {
  try {
    await call();
  } catch (err) {
    expect(step, err.name === name, { want: name, got: err.name, message: err.message });
    return;
  }
  throw new Error(`${step}: was not refused`);
};

run(async () => {
  const created = (await registry.create({ deviceId: id('one'), status: 'enabled', statusReason: 'new' })).responseBody;
  const keys = created.authentication.symmetricKey;
  expect('create generates keys', Buffer.from(keys.primaryKey, 'base64').length >= 16 && keys.primaryKey !== keys.secondaryKey, created);
  expect('create answers the identity', created.deviceId === id('one') && created.etag && created.generationId
    && created.connectionState === 'Disconnected' && created.authentication.type === 'sas', created);
  await refused('create twice', 'DeviceAlreadyExistsError', () => registry.create({ deviceId: id('one') }));
  await refused('create with a bad id', 'ArgumentError', () => registry.create({ deviceId: 'no spaces' }));

  const got = (await registry.get(id('one'))).responseBody;
  expect('get', got.etag === created.etag && got.authentication.symmetricKey.primaryKey === keys.primaryKey && got.statusReason === 'new', got);
  await refused('get a missing device', 'DeviceNotFoundError', () => registry.get(id('missing')));

  const primaryKey = Buffer.from('0123456789abcdef0123456789abcdef').toString('base64');
  const updated = (await registry.update({
    deviceId: id('one'), status: 'disabled', statusReason: 'test',
    authentication: { symmetricKey: { primaryKey, secondaryKey: keys.secondaryKey } },
  })).responseBody;
  expect('update', updated.status === 'disabled' && updated.etag !== created.etag
    && updated.authentication.symmetricKey.primaryKey === primaryKey && updated.generationId === created.generationId, updated);
  await refused('update a missing device', 'DeviceNotFoundError', () => registry.update({ deviceId: id('missing'), status: 'enabled' }));

  const module = (await registry.addModule({ deviceId: id('one'), moduleId: 'camera', managedBy: 'test' })).responseBody;
  expect('add a module', module.moduleId === 'camera' && module.authentication.symmetricKey.primaryKey, module);
  const modules = (await registry.getModulesOnDevice(id('one'))).responseBody;
  expect('list modules', modules.length === 1 && modules[0].moduleId === 'camera', modules);
  expect('get a module', (await registry.getModule(id('one'), 'camera')).responseBody.etag === module.etag, module);
  const changed = (await registry.updateModule({ deviceId: id('one'), moduleId: 'camera', managedBy: 'other' }, true)).responseBody;
  expect('update a module', changed.managedBy === 'other', changed);
  await refused('update a module with an old etag', 'InvalidEtagError',
    () => registry.updateModule({ deviceId: id('one'), moduleId: 'camera', managedBy: 'third', etag: module.etag }, false));
  // The SDK has no class of its own for a missing module.
  await refused('get a missing module', 'Error', () => registry.getModule(id('one'), 'missing'));
  await registry.removeModule(id('one'), 'camera');
  await refused('a removed module is gone', 'Error', () => registry.getModule(id('one'), 'camera'));

  const many = Array.from({ length: 100 }, (_, i) => ({ deviceId: id(`bulk-${i}`) }));
  const added = (await registry.addDevices(many)).responseBody;
  expect('add 100 devices', added.isSuccessful === true && added.errors.length === 0, added);
  let again;
  try {
    again = (await registry.addDevices(many.slice(0, 2))).responseBody;
  } catch (err) {
    again = err.responseBody ? JSON.parse(err.responseBody) : { isSuccessful: false, errors: [], name: err.name };
  }
  expect('add them again', again.isSuccessful === false, again);
  const edited = (await registry.updateDevices(many.slice(0, 3).map((d) => ({ ...d, status: 'disabled' })), true)).responseBody;
  expect('update 3 devices', edited.isSuccessful === true, edited);
  expect('bulk update is seen', (await registry.get(id('bulk-1'))).responseBody.status === 'disabled');

  const all = (await registry.list()).responseBody;
  expect('list', all.filter((d) => d.deviceId.startsWith(input.prefix)).length === 101, all.length);

  const counts = (await registry.getRegistryStatistics()).responseBody;
  expect('statistics', counts.totalDeviceCount >= 101 && counts.disabledDeviceCount >= 4
    && counts.enabledDeviceCount + counts.disabledDeviceCount === counts.totalDeviceCount, counts);

  const gone = (await registry.removeDevices(many.map((d) => ({ deviceId: d.deviceId })), true)).responseBody;
  expect('remove 100 devices', gone.isSuccessful === true, gone);
  await registry.delete(id('one'));
  await refused('a deleted device is gone', 'DeviceNotFoundError', () => registry.get(id('one')));

  if (input.readOnly) {
    const reader = Registry.fromConnectionString(input.readOnly);
    expect('a reader lists', Array.isArray((await reader.list()).responseBody));
    await refused('a reader may not create', 'UnauthorizedError', () => reader.create({ deviceId: id('two') }));
  }
  if (input.wrongKey) {
    const stranger = Registry.fromConnectionString(input.wrongKey);
    await refused('a wrong key is refused', 'UnauthorizedError', () => stranger.list());
  }
});
