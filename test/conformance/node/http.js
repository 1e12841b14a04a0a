// Rows: the device SDK over HTTPS. What is sent by the devices http-one,
// http-many and http-batch is checked in the log by the test that runs this.
'use strict';

const { ConnectionString, SharedAccessSignature } = require('azure-iot-common');
const { Message } = require('azure-iot-device');
const { input, run } = require('./input');
const { check, equal, refused, rows, until } = require('./rows');
const { close, fresh, registry, rest, string } = require('./hub');

const host = ConnectionString.parse(input.service).HostName;

const message = (row) => {
  const m = new Message(JSON.stringify({ row }));
  m.messageId = `row-${row}`;
  m.correlationId = 'c/1';
  m.contentType = 'application/json';
  m.contentEncoding = 'utf-8';
  m.properties.add('row', String(row));
  m.properties.add('a-b', '50% + 1 & more');
  m.properties.add('machineID', 'M 7'); // headers do not tell cases apart, consumers do
  return m;
};

const send = async (d, body, headers = {}) => {
  const answer = await rest('POST', '/messages/devicebound', { body: Buffer.from(body), headers: { 'iothub-to': `/devices/${d.device}/messages/devicebound`, ...headers } });
  equal(answer.status, 204, answer.text);
};

const count = async (d) => (await registry.get(d.device)).responseBody.cloudToDeviceMessageCount;

const gone = async (d) => {
  const end = Date.now() + 10000;
  while (await count(d) !== 0) check(Date.now() < end, 'the queue is not empty');
};

run(() => rows({
  'a message': async () => {
    const client = await (await fresh({ deviceId: 'http-one' })).connect();
    await client.sendEvent(message(0));
    await close(client);
  },

  'messages one after the other': async () => {
    const client = await (await fresh({ deviceId: 'http-many' })).connect();
    for (let i = 0; i < 20; i++) await client.sendEvent(message(i));
    await close(client);
  },

  'a batch': async () => {
    const client = await (await fresh({ deviceId: 'http-batch' })).connect();
    await client.sendEventBatch(Array.from({ length: 100 }, (_, i) => message(i)));
    await close(client);
  },

  'a message that is too large': async () => {
    const client = await (await fresh()).connect();
    await client.sendEvent(new Message(Buffer.alloc(255 * 1024, 'x')));
    await refused(client.sendEvent(new Message(Buffer.alloc(256 * 1024 + 1, 'x'))), 'MessageTooLargeError');
    await refused(client.sendEventBatch(Array.from({ length: 5 }, () => new Message('x'.repeat(60000)))), 'MessageTooLargeError');
    await close(client);
  },

  'a wrong key': async () => {
    const [d, other] = [await fresh(), await fresh()];
    const client = await d.connect({ connectionString: string({ ...other.identity, deviceId: d.device }) });
    await refused(client.sendEvent(message(0)), 'UnauthorizedError');
  },

  'a disabled device': async () => {
    const d = await fresh({ status: 'disabled' });
    const client = await d.connect();
    await refused(client.sendEvent(message(0)));
  },

  'HTTPS does not make a device connected': async () => {
    const d = await fresh();
    const client = await d.connect();
    await client.sendEvent(message(0));
    const identity = (await registry.get(d.device)).responseBody;
    equal(identity.connectionState, 'Disconnected');
    await close(client);
  },

  'a cloud-to-device message is received and completed': async () => {
    const d = await fresh();
    await send(d, 'for you', { 'iothub-messageid': 'm-1', 'iothub-correlationid': 'c', 'iothub-app-room': 'kitchen' });
    const client = await d.connect();
    const got = [];
    client.on('message', (m) => got.push(m));
    await until(() => got.length >= 1, 'the message');
    const [m] = got;
    equal([m.data.toString(), m.messageId, m.correlationId, m.properties.getValue('iothub-app-room')], ['for you', 'm-1', 'c', 'kitchen']);
    equal(await count(d), 1);
    await client.complete(m);
    await gone(d);
    await close(client);
  },

  'all that waits is received, in order': async () => {
    const d = await fresh();
    for (let i = 0; i < 10; i++) await send(d, `n${i}`);
    const client = await d.connect();
    const got = [];
    client.on('message', (m) => {
      got.push(m.data.toString());
      client.complete(m, () => {});
    });
    await until(() => got.length >= 10, () => `${got.length} of 10 messages`);
    equal(got, Array.from({ length: 10 }, (_, i) => `n${i}`));
    await gone(d);
    await close(client);
  },

  'a rejected message does not come again': async () => {
    const d = await fresh();
    await send(d, 'bad');
    const client = await d.connect();
    const got = [];
    client.on('message', (m) => {
      got.push(m);
      client.reject(m, () => {});
    });
    await gone(d);
    equal(got.length, 1);
    await close(client);
  },

  'an abandoned message comes again': async () => {
    const d = await fresh();
    await send(d, 'again');
    const client = await d.connect();
    const got = [];
    client.on('message', (m) => {
      got.push(m.data.toString());
      client[got.length < 3 ? 'abandon' : 'complete'](m, () => {});
    });
    await gone(d);
    equal(got, ['again', 'again', 'again']);
    await close(client);
  },

  'a lock that is lost': async () => {
    const d = await fresh();
    await send(d, 'x');
    const client = await d.connect();
    const got = [];
    client.on('message', (m) => got.push(m));
    await until(() => got.length >= 1, 'the message');
    await client.complete(got[0]);
    await refused(client.complete(got[0]));
    await close(client);
  },

  'the last activity of a device that only calls': async () => {
    const d = await fresh();
    equal((await d.twin()).lastActivityTime, '0001-01-01T00:00:00Z');
    const client = await d.connect();
    const before = Date.now();
    await client.sendEvent(message(0));
    const after = Date.now();
    await close(client);
    let twin;
    const end = Date.now() + 10000;
    do { twin = await d.twin(); } while (twin.lastActivityTime.startsWith('0001') && Date.now() < end);
    const at = Date.parse(twin.lastActivityTime);
    check(at >= before - 1 && at <= after + 1, 'the last activity', [before, twin.lastActivityTime, after]);
    equal(twin.connectionState, 'Disconnected');
    equal((await registry.get(d.device)).responseBody.lastActivityTime, twin.lastActivityTime);
  },

  'a module over HTTPS': async () => {
    // The SDK offers modules no HTTPS: a program signs for itself.
    const d = await fresh({ deviceId: 'http-module' });
    const m = await d.add('camera');
    const path = `/devices/${d.device}/modules/camera`;
    const token = SharedAccessSignature.create(`${host}${path}`, null, m.identity.authentication.symmetricKey.primaryKey, Math.floor(Date.now() / 1000) + 3600).toString();
    const as = (method, suffix, more = {}) => rest(method, path + suffix, { ...more, token });
    equal((await as('POST', '/messages/events', { body: Buffer.from('{"row":0}'), headers: { 'iothub-app-row': '0' } })).status, 204);
    for (const [n, settle] of [['one', ['DELETE', '']], ['two', ['DELETE', '', { query: '&reject' }]], ['three', ['POST', '/abandon']], ['three', ['DELETE', '']]]) {
      if (settle[1] !== '' || n !== 'three') {
        const sent = await rest('POST', '/messages/devicebound', { body: Buffer.from(n), headers: { 'iothub-to': `${path}/messages/devicebound` } });
        equal(sent.status, 204, sent.text);
      }
      const got = await as('GET', '/messages/devicebound');
      equal([got.status, got.text], [200, n]);
      const lock = got.headers.get('etag').slice(1, -1);
      equal((await as(settle[0], `/messages/devicebound/${lock}${settle[1]}`, settle[2])).status, 204, settle);
      equal((await as(settle[0], `/messages/devicebound/${lock}${settle[1]}`, settle[2])).status, 412, 'a second time');
    }
    equal((await as('GET', '/messages/devicebound')).status, 204);
    equal((await rest('GET', `${path}/messages/devicebound`, { token: token.replace('sig=', 'sig=x') })).status, 401);
  },
}));
