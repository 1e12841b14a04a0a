// Rows: modules, keys and the hub's own right over its containers, through the service SDK. input:
// container is the address of a container with a signature, plain the same
// without one.
'use strict';

const { input, run } = require('./input');
const { check, equal, rows, sleep } = require('./rows');
const { registry } = require('./hub');

const blob = (name) => {
  const [address, signature] = input.container.split('?');
  return `${address}/${name}?${signature}`;
};

const put = async (name, lines) => {
  const answer = await fetch(blob(name), { method: 'PUT', headers: { 'x-ms-blob-type': 'BlockBlob', 'x-ms-version': '2021-12-02' }, body: lines.map((l) => JSON.stringify(l)).join('\n') });
  equal(answer.status, 201, await answer.text());
};

const get = async (name) => {
  const answer = await fetch(blob(name), { headers: { 'x-ms-version': '2021-12-02' } });
  equal(answer.status, 200, name);
  return (await answer.text()).split('\n').filter((l) => l !== '').map((l) => JSON.parse(l));
};

const body = (answer) => answer.responseBody || answer;

// ended waits for an import or export to come to its end.
const ended = async (started) => {
  const { jobId } = body(started);
  check(jobId, 'the job has no id', started);
  for (const end = Date.now() + 15000; ;) {
    const job = body(await registry.getJob(jobId));
    if (['completed', 'failed', 'cancelled'].includes(job.status)) return job;
    check(Date.now() < end, `the job is ${job.status} still`, job);
    await sleep(20);
  }
};

// One import or export is possible at a time, and rows begin together: each of
// these waits for the one before it.
let turn = Promise.resolve();
const inTurn = (row) => () => {
  turn = turn.catch(() => {}).then(row);
  return turn;
};

run(() => rows({
  'devices and modules are imported': inTurn(async () => {
    await put('devices.txt', [
      { id: 'imported-1', importMode: 'create', status: 'enabled', tags: { lot: 7 }, properties: { desired: { interval: 5 } } },
      { id: 'imported-1', moduleId: 'camera', importMode: 'create', tags: { of: 'module' } },
      { id: 'imported-2', status: 'disabled', statusReason: 'spare' },
      { id: 'missing', importMode: 'delete' },
    ]);
    const job = await ended(await registry.importDevicesFromBlob(input.container, input.container));
    equal([job.type, job.status, job.progress], ['import', 'completed', 100], JSON.stringify(job));
    check(!JSON.stringify(job).includes('sig='), 'the job gives its signature away', job);
    equal(body(await registry.getTwin('imported-1')).tags, { lot: 7 });
    equal(body(await registry.getModuleTwin('imported-1', 'camera')).tags, { of: 'module' });
    equal(body(await registry.get('imported-2')).status, 'disabled');
    const errors = await get('importErrors.log');
    equal(errors.map((e) => [e.line, e.deviceId, e.errorCode]), [[4, 'missing', 'DeviceNotFound']]);
  }),

  'devices are exported with their keys': inTurn(async () => {
    await ended(await registry.exportDevicesToBlob(input.container, false));
    const [device] = (await get('devices.txt')).filter((e) => e.id === 'imported-1');
    equal(device.authentication.symmetricKey, body(await registry.get('imported-1')).authentication.symmetricKey);
  }),

  'the hub uses its own right over its containers': inTurn(async () => {
    const job = await ended(await registry.exportDevicesToBlobByIdentity(input.plain, true));
    equal(job.status, 'completed', JSON.stringify(job));
    equal((await ended(await registry.importDevicesFromBlobByIdentity(input.plain, input.plain))).status, 'completed');
  }),
}));
