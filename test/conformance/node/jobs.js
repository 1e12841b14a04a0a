// Rows: scheduled jobs through the service SDK.
'use strict';

const { JobClient } = require('azure-iothub');
const { input, run } = require('./input');
const { check, equal, refused, rows, sleep } = require('./rows');
const { close, fresh, registry, rest } = require('./hub');

const jobs = JobClient.fromConnectionString(input.service);
const body = async (promise) => (await promise).jobStatus;

// The promise form of next of this SDK begins anew unless it is told where it is.
const next = (query) => query.next(query.continuationToken);

let last = 0;
const name = () => {
  last += 1;
  return `job-${input.transport}-${last}`;
};

// ended waits for a job to come to its end.
const ended = async (id, status = 'completed') => {
  const end = Date.now() + 15000;
  for (;;) {
    const job = await body(jobs.getJob(id));
    if (['completed', 'failed', 'cancelled'].includes(job.status)) {
      equal(job.status, status, JSON.stringify(job));
      return job;
    }
    check(Date.now() < end, `the job is ${job.status} still`, job);
    await sleep(20);
  }
};

// records reads the results by device.
const records = async (id) => {
  const query = registry.createQuery(`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '${id}'`, 100);
  const list = [];
  while (query.hasMoreResults) list.push(...(await next(query)).result);
  return list;
};

const fleet = async (n, tags) => {
  const made = [];
  for (let i = 0; i < n; i++) {
    const d = await fresh();
    await d.update({ tags });
    made.push(d);
  }
  return made;
};

run(() => rows({
  'twins are updated by a condition': async () => {
    const made = await fleet(3, { job: 'update' });
    const other = await fresh();
    const id = name();
    const job = await body(jobs.scheduleTwinUpdate(id, "tags.job = 'update'", { etag: '*', tags: { done: true }, properties: { desired: { interval: 7 } } }, new Date(), 60));
    equal([job.jobId, job.type, job.queryCondition, job.maxExecutionTimeInSeconds], [id, 'scheduleUpdateTwin', "tags.job = 'update'", 60]);
    check(['queued', 'scheduled', 'enqueued', 'running', 'completed'].includes(job.status), 'the status', job);
    const { deviceJobStatistics: s } = await ended(id);
    equal(s, { deviceCount: 3, failedCount: 0, succeededCount: 3, runningCount: 0, pendingCount: 0 });
    for (const d of made) {
      const twin = await d.twin();
      equal([twin.tags, twin.properties.desired.interval], [{ job: 'update', done: true }, 7]);
    }
    equal((await other.twin()).properties.desired.$version, 1);
    const list = await records(id);
    equal(list.map((r) => [r.deviceId, r.jobId, r.jobType, r.status]).sort(), made.map((d) => [d.device, id, 'scheduleUpdateTwin', 'completed']).sort());
  },

  'methods are called by a condition': async () => {
    const [a, b] = await fleet(2, { job: 'method' });
    const clients = [];
    for (const [d, status] of [[a, 200], [b, 500]]) {
      const client = await d.connect();
      client.onDeviceMethod('reboot', (request, response) => response.send(status, { got: request.payload }));
      await new Promise((resolve) => setImmediate(resolve));
      await client.getTwin(); // the subscription was sent before this
      clients.push(client);
    }
    const id = name();
    await jobs.scheduleDeviceMethod(id, "tags.job = 'method'", { methodName: 'reboot', payload: { n: 1 }, responseTimeoutInSeconds: 10 }, new Date(), 60);
    await ended(id);
    const byDevice = Object.fromEntries((await records(id)).map((r) => [r.deviceId, r]));
    for (const [d, status] of [[a, 200], [b, 500]]) {
      equal(byDevice[d.device].outcome.deviceMethodResponse, { status, payload: { got: { n: 1 } } });
    }
    for (const client of clients) await close(client);
  },

  'a method job waits for a device that is away': async () => {
    const [d] = await fleet(1, { job: 'away' });
    const id = name();
    await jobs.scheduleDeviceMethod(id, "tags.job = 'away'", { methodName: 'late', payload: null, responseTimeoutInSeconds: 10 }, new Date(), 60);
    await sleep(300);
    const waiting = (await body(jobs.getJob(id))).status;
    check(['running', 'queued', 'scheduled', 'enqueued'].includes(waiting), 'the job is over', waiting);
    const client = await d.connect();
    client.onDeviceMethod('late', (request, response) => response.send(200, 'here'));
    await ended(id);
    equal((await records(id))[0].outcome.deviceMethodResponse, { status: 200, payload: 'here' });
    await close(client);
  },

  'a job that begins later can be cancelled': async () => {
    const [d] = await fleet(1, { job: 'cancel' });
    const id = name();
    await jobs.scheduleTwinUpdate(id, "tags.job = 'cancel'", { etag: '*', tags: { never: true } }, new Date(Date.now() + 3600e3), 60);
    check(['queued', 'scheduled'].includes((await body(jobs.getJob(id))).status), 'the status');
    await jobs.cancelJob(id);
    await ended(id, 'cancelled');
    equal((await d.twin()).tags, { job: 'cancel' });
  },

  'jobs are listed by type and status': async () => {
    await fleet(1, { job: 'list' });
    const id = name();
    await jobs.scheduleTwinUpdate(id, "tags.job = 'list'", { etag: '*', tags: { listed: true } }, new Date(), 60);
    await ended(id);
    const list = async (...args) => {
      const query = jobs.createQuery(...args);
      const found = [];
      while (query.hasMoreResults) found.push(...(await next(query)).result);
      return found.map((j) => j.jobId);
    };
    check((await list('scheduleUpdateTwin', 'completed')).includes(id), 'the job is not in the list');
    check((await list()).includes(id), 'the job is not in the list of all');
    check(!(await list('scheduleDeviceMethod')).includes(id), 'the job is in the list of another type');
    check(!(await list('scheduleUpdateTwin', 'cancelled')).includes(id), 'the job is in the list of another status');
  },

  'pages of jobs': async () => {
    for (let i = 0; i < 3; i++) await jobs.scheduleTwinUpdate(name(), "deviceId = 'nobody'", { etag: '*', tags: {} }, new Date(Date.now() + 3600e3), 60);
    const query = jobs.createQuery(undefined, undefined, 2);
    const seen = new Set();
    let pages = 0;
    while (query.hasMoreResults && pages < 100) {
      const { result } = await next(query);
      check(result.length <= 2, 'a page of more than two', result.length);
      for (const j of result) {
        check(!seen.has(j.jobId), 'a job twice', j);
        seen.add(j.jobId);
      }
      pages += 1;
    }
    check(pages >= 2 && seen.size >= 3, 'pages', [pages, seen.size]);
  },

  'what is no job is refused': async () => {
    const later = new Date(Date.now() + 3600e3);
    const id = name();
    await jobs.scheduleTwinUpdate(id, "deviceId = 'nobody'", { etag: '*', tags: {} }, later, 60);
    const twice = await rest('PUT', `/jobs/v2/${id}`, { body: { jobId: id, type: 'scheduleUpdateTwin', queryCondition: '*', updateTwin: { etag: '*', tags: {} }, startTime: later.toISOString(), maxExecutionTimeInSeconds: 60 } });
    equal([twice.status, twice.headers.get('iothub-errorcode')], [409, 'JobAlreadyExists'], twice.text);
    const missing = await rest('GET', '/jobs/v2/missing');
    equal([missing.status, missing.headers.get('iothub-errorcode')], [404, 'JobNotFound'], missing.text);
    equal((await rest('POST', '/jobs/v2/missing/cancel')).status, 404);
    await refused(jobs.scheduleTwinUpdate(name(), 'tags.a = ', { etag: '*', tags: {} }, later, 60), 'ArgumentError');
    for (const bad of [{}, { type: 'scheduleUpdateTwin' }, { type: 'nothing', queryCondition: '*' }, { type: 'scheduleDeviceMethod', queryCondition: '*', cloudToDeviceMethod: {} }]) {
      const answer = await rest('PUT', `/jobs/v2/${name()}`, { body: { maxExecutionTimeInSeconds: 60, startTime: later.toISOString(), ...bad } });
      equal(answer.status, 400, `${JSON.stringify(bad)}: ${answer.text}`);
      check(/^ErrorCode:[A-Za-z]+;/.test(answer.json.Message), 'the form of the error', answer.text);
    }
    equal((await rest('PUT', '/jobs/v2/no%20spaces', { body: { type: 'scheduleUpdateTwin', queryCondition: '*', updateTwin: { tags: {} }, maxExecutionTimeInSeconds: 60 } })).status, 400);
  },
}));
