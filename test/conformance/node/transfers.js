// Rows: import and export of identities through the service SDK. input: also
// container, the address of a container of the hub with a signature.
'use strict';

const { input, run } = require('./input');
const { check, equal, refused, rows, sleep } = require('./rows');
const { fresh, registry, rest } = require('./hub');

const blob = (name) => input.container.replace('?', `/${name}?`);

// Only one of them runs at a time.
let last = Promise.resolve();
const alone = async (row) => {
  const mine = last.then(row);
  last = mine.catch(() => {});
  return mine;
};

const ended = async (job, status = 'completed') => {
  const end = Date.now() + 20000;
  for (let now = job; ; await sleep(20)) {
    if (['completed', 'failed', 'cancelled'].includes(now.status)) {
      equal(now.status, status, JSON.stringify(now));
      return now;
    }
    check(Date.now() < end, 'the job is not done', now);
    now = await registry.getJob(job.jobId);
  }
};

const lines = async (name) => {
  const answer = await fetch(blob(name));
  const text = await answer.text();
  equal(answer.status, 200, text);
  return text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line));
};

run(() => rows({
  'identities are exported, and imported again': async () => alone(async () => {
    const d = await fresh({ statusReason: 'kept' });
    const m = await d.add('camera');
    await d.update({ tags: { site: 'north' }, properties: { desired: { interval: 5 } } });
    const job = await ended(await registry.exportDevicesToBlob(input.container, false));
    equal([job.type, job.progress], ['export', 100]);
    const all = await lines('devices.txt');
    const one = all.find((e) => e.id === d.device && !e.moduleId);
    equal([one.statusReason, one.authentication.symmetricKey, one.tags], ['kept', d.identity.authentication.symmetricKey, { site: 'north' }]);
    check(all.some((e) => e.id === d.device && e.moduleId === 'camera'), 'the module', all);
    await registry.delete(d.device);
    await ended(await registry.importDevicesFromBlob(input.container, input.container));
    const back = (await registry.get(d.device)).responseBody;
    equal([back.statusReason, back.authentication.symmetricKey], ['kept', d.identity.authentication.symmetricKey]);
    const twin = await d.twin();
    equal([twin.tags, twin.properties.desired.interval], [{ site: 'north' }, 5]);
    equal((await registry.getModule(d.device, 'camera')).responseBody.authentication.symmetricKey, m.identity.authentication.symmetricKey);
  }),

  'keys stay out of an export that is not to have them': async () => alone(async () => {
    const d = await fresh();
    await ended(await registry.exportDevicesToBlob(input.container, true));
    const one = (await lines('devices.txt')).find((e) => e.id === d.device);
    check(one && !JSON.stringify(one).includes(d.identity.authentication.symmetricKey.primaryKey), 'the line', one);
  }),

  'what an import cannot do is in its log of errors': async () => alone(async () => {
    const d = await fresh();
    const entries = [{ id: 'no spaces', importMode: 'create' }, { id: d.device, importMode: 'create' }, { id: `${d.device}-new`, importMode: 'create' }];
    const put = await fetch(blob('devices.txt'), { method: 'PUT', headers: { 'x-ms-blob-type': 'BlockBlob' }, body: entries.map((e) => JSON.stringify(e)).join('\r\n') });
    equal(put.status, 201, await put.text());
    await ended(await registry.importDevicesFromBlob(input.container, input.container));
    equal((await registry.get(`${d.device}-new`)).responseBody.deviceId, `${d.device}-new`);
    const errors = await lines('importErrors.log');
    equal(errors.map((e) => e.errorCode || e.ErrorCode).sort(), ['ArgumentInvalid', 'DeviceAlreadyExists'], JSON.stringify(errors));
  }),

  'jobs are listed, and what is over cannot be cancelled': async () => alone(async () => {
    const job = await ended(await registry.exportDevicesToBlob(input.container, true));
    check((await registry.listJobs()).responseBody.some((j) => j.jobId === job.jobId), 'the list');
    const missing = await rest('GET', '/jobs/missing');
    equal([missing.status, missing.headers.get('iothub-errorcode')], [404, 'JobNotFound'], missing.text);
    equal((await rest('DELETE', '/jobs/missing')).status, 404);
    const answer = await rest('DELETE', `/jobs/${job.jobId}`);
    check(answer.status < 500, 'the answer', answer.text);
    equal((await registry.getJob(job.jobId)).status, 'completed');
  }),

  'what is no container is refused': async () => alone(async () => {
    await refused(registry.exportDevicesToBlob('https://somewhere.example/container?sig=x', true).then((job) => ended(job)));
    for (const body of [{}, { type: 'export' }, { type: 'nothing', outputBlobContainerUri: input.container }, { type: 'import', inputBlobContainerUri: input.container }]) {
      const answer = await rest('POST', '/jobs/create', { body });
      equal(answer.status, 400, `${JSON.stringify(body)}: ${answer.text}`);
    }
  }),
}));
