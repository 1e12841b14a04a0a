// Rows: file upload of the device SDK, whose blob client writes to the hub, and
// what applications are told of it.
'use strict';

const { Readable } = require('stream');
const { ConnectionString, SharedAccessSignature } = require('azure-iot-common');
const { input, run } = require('./input');
const { check, equal, refused, rows, sleep } = require('./rows');
const { close, fresh, rest } = require('./hub');

const host = ConnectionString.parse(input.service).HostName;

// told waits for the notification of a file. One row receives those of others,
// too, and keeps them for them; one whose file is named again.txt is abandoned
// the first time.
const notifications = {};
const times = {};
const told = async (blobName) => {
  const end = Date.now() + 15000;
  while (!notifications[blobName]) {
    check(Date.now() < end, 'no notification', blobName);
    const answer = await rest('GET', '/messages/serviceBound/filenotifications');
    if (answer.status === 204) {
      await sleep(20);
      continue;
    }
    equal(answer.status, 200, answer.text);
    const n = JSON.parse(answer.text);
    const token = answer.headers.get('etag').slice(1, -1);
    times[n.blobName] = (times[n.blobName] || 0) + 1;
    if (n.blobName.endsWith('again.txt') && times[n.blobName] === 1) {
      equal((await rest('POST', `/messages/serviceBound/filenotifications/${token}/abandon`)).status, 204);
      continue;
    }
    notifications[n.blobName] = n;
    equal((await rest('DELETE', `/messages/serviceBound/filenotifications/${token}`)).status, 204);
  }
  return notifications[blobName];
};

// device makes calls of a device over HTTPS.
const device = (d) => {
  const path = `/devices/${d.device}`;
  const token = SharedAccessSignature.create(host + path, null, d.identity.authentication.symmetricKey.primaryKey, Math.floor(Date.now() / 1000) + 3600).toString();
  return (method, suffix, body) => rest(method, path + suffix, { body, token });
};

const open = async () => {
  const d = await fresh();
  return [d, await d.connect()];
};

const at = (info, name = info.blobName, sas = info.sasToken) => `https://${info.hostName}/${info.containerName}/${name}${sas}`;
const put = (url, body) => fetch(url, { method: 'PUT', headers: { 'x-ms-blob-type': 'BlockBlob' }, body });

run(() => rows({
  'a small file': async () => {
    const [d, client] = await open();
    const content = Buffer.from('é 50%');
    await client.uploadToBlob('dir/small file.txt', Readable.from([content]), content.length);
    const n = await told(`${d.device}/dir/small file.txt`);
    equal([n.deviceId, n.blobSizeInBytes], [d.device, content.length]);
    check(n.blobUri.endsWith('small%20file.txt') && Date.parse(n.enqueuedTimeUtc) > 0 && Date.parse(n.lastUpdatedTime) > 0, 'the notification', n);
    await close(client);
  },

  'a large file, in blocks': async () => {
    const [d, client] = await open();
    const part = Buffer.alloc(1024 * 1024, 'x');
    await client.uploadToBlob('large.bin', Readable.from(Array.from({ length: 20 }, () => part)), 20 * part.length);
    equal((await told(`${d.device}/large.bin`)).blobSizeInBytes, 20 * part.length);
    await close(client);
  },

  'an upload in three steps': async () => {
    const [d, client] = await open();
    const info = await client.getBlobSharedAccessSignature('steps.txt');
    equal([info.blobName, typeof info.correlationId, info.sasToken.startsWith('?')], [`${d.device}/steps.txt`, 'string', true]);
    const stored = await put(at(info), 'steps');
    equal(stored.status, 201, await stored.text());
    check(stored.headers.get('etag') && stored.headers.get('last-modified') && stored.headers.get('x-ms-request-id'), 'the headers', [...stored.headers]);
    const read = await fetch(at(info));
    equal([read.status, await read.text()], [200, 'steps']);
    await client.notifyBlobUploadStatus(info.correlationId, true, 200, 'done');
    equal((await told(info.blobName)).blobSizeInBytes, 5);
    await refused(client.notifyBlobUploadStatus('nothing', true, 200, 'done'));
    await close(client);
  },

  'the same without an SDK': async () => {
    const d = await fresh();
    const call = device(d);
    const begun = await call('POST', '/files', { blobName: 'plain.txt' });
    equal(begun.status, 200, begun.text);
    equal((await put(at(begun.json), 'plain')).status, 201);
    const done = { correlationId: begun.json.correlationId, isSuccess: true, statusCode: 200, statusDescription: 'done' };
    equal((await call('POST', '/files/notifications', done)).status, 204);
    equal((await told(begun.json.blobName)).blobSizeInBytes, 5);
    // A device that had no answer says it again.
    equal((await call('POST', '/files/notifications', done)).status, 204);
    const foreign = await call('POST', '/files/notifications', { ...done, correlationId: 'nothing' });
    equal([foreign.status, foreign.headers.get('iothub-errorcode')], [400, 'InvalidFileUploadCorrelationId'], foreign.text);
  },

  'a signature is for its blob alone': async () => {
    const [d, client] = await open();
    const info = await client.getBlobSharedAccessSignature('mine.txt');
    for (const name of [`${d.device}/other.txt`, 'somebody/mine.txt', `${d.device}/mine.txt/x`, `${d.device}/x/..%2Fmine.txt`]) {
      equal((await put(at(info, name), 'x')).status, 403, name);
    }
    equal((await put(at(info, info.blobName, info.sasToken.replace(/sig=[^&]+/, 'sig=AAAA')), 'x')).status, 403);
    equal((await put(at(info, info.blobName, ''), 'x')).status >= 400, true);
    equal((await put(at(info), 'x')).status, 201);
    await client.notifyBlobUploadStatus(info.correlationId, false, 500, 'given up');
    await close(client);
  },

  'the eleventh open upload is refused': async () => {
    const d = await fresh();
    const call = device(d);
    const open = [];
    for (let i = 0; i < 10; i++) {
      const begun = await call('POST', '/files', { blobName: `f${i}` });
      equal(begun.status, 200, begun.text);
      open.push(begun.json.correlationId);
    }
    const refusal = await call('POST', '/files', { blobName: 'f10' });
    equal([refusal.status, refusal.headers.get('iothub-errorcode')], [403, 'DeviceMaximumActiveFileUploadLimitExceeded'], refusal.text);
    equal((await call('POST', '/files/notifications', { correlationId: open[0], isSuccess: false, statusCode: 500, statusDescription: 'x' })).status, 204);
    equal((await call('POST', '/files', { blobName: 'f10' })).status, 200);
  },

  'what is no upload is refused': async () => {
    const d = await fresh();
    const call = device(d);
    for (const body of [{}, { blobName: '' }, { blobName: 'x'.repeat(1025) }, { blobName: 5 }, []]) {
      const answer = await call('POST', '/files', body);
      equal(answer.status, 400, `${JSON.stringify(body).slice(0, 60)}: ${answer.text}`);
    }
    const other = await fresh();
    equal((await rest('POST', `/devices/${other.device}/files`, { body: { blobName: 'x' }, token: 'SharedAccessSignature sr=x&sig=x&se=1' })).status, 401);
  },

  'a notification that is abandoned comes again': async () => {
    const d = await fresh();
    const call = device(d);
    const begun = await call('POST', '/files', { blobName: 'again.txt' });
    equal((await put(at(begun.json), 'again')).status, 201);
    equal((await call('POST', '/files/notifications', { correlationId: begun.json.correlationId, isSuccess: true, statusCode: 200, statusDescription: '' })).status, 204);
    await told(begun.json.blobName);
    equal(times[begun.json.blobName], 2);
  },
}));
