// Rows: cloud-to-device messages to the device SDK, sent over REST: the service
// SDK sends them over AMQP only.
'use strict';

const { NoRetry } = require('azure-iot-common');
const { run } = require('./input');
const { check, equal, rows, sleep, until } = require('./rows');
const { close, fresh, registry, rest } = require('./hub');

const send = async (d, body, headers = {}) => {
  const to = `/devices/${encodeURIComponent(d.device)}/messages/devicebound`;
  const answer = await rest('POST', '/messages/devicebound', { body: Buffer.from(body), headers: { 'iothub-to': to, ...headers } });
  equal(answer.status, 204, answer.text);
};

const count = async (d) => (await registry.get(d.device)).responseBody.cloudToDeviceMessageCount;

// inbox lists what a client receives; settle is what it does with each.
const inbox = (client, settle = 'complete') => {
  const list = [];
  client.on('message', (message) => {
    list.push(message);
    if (settle) client[settle](message, () => {});
  });
  return list;
};

const texts = (list) => list.map((m) => m.data.toString());

run(() => rows({
  'a message with properties reaches the device': async () => {
    const d = await fresh();
    const client = await d.connect();
    const got = inbox(client);
    await send(d, 'öffne das Fenster', {
      'iothub-messageid': 'm-1', 'iothub-correlationid': 'c/1', 'iothub-userid': 'u 1', 'iothub-contenttype': 'application/json',
      'iothub-contentencoding': 'utf-8', 'iothub-app-room': 'kitchen & hall/50% + 1', 'iothub-app-empty': '',
    });
    await until(() => got.length > 0, 'the message');
    const [m] = got;
    equal([m.data.toString(), m.messageId, m.correlationId, m.userId, m.contentType, m.contentEncoding],
      ['öffne das Fenster', 'm-1', 'c/1', 'u 1', 'application/json', 'utf-8']);
    equal([m.to, m.properties.getValue('room'), m.properties.getValue('empty')], [`/devices/${d.device}/messages/devicebound`, 'kitchen & hall/50% + 1', '']);
    const end = Date.now() + 5000;
    while (await count(d) !== 0) check(Date.now() < end, 'the completed message is still in the queue');
    await close(client);
  },

  'bodies come as they were sent': async () => {
    const d = await fresh();
    const client = await d.connect();
    const got = inbox(client);
    const bodies = [Buffer.alloc(0), Buffer.from([0, 255, 10, 13, 0]), Buffer.alloc(60000, 'x')];
    for (const body of bodies) await send(d, body);
    await until(() => got.length >= 3, 'three messages');
    check(bodies.every((b, i) => b.equals(got[i].data)), 'the bodies', got.map((m) => m.data.length));
    await close(client);
  },

  'messages wait for a device that is away, in order': async () => {
    const d = await fresh();
    for (let i = 0; i < 50; i++) await send(d, `n${i}`);
    equal(await count(d), 50);
    const client = await d.connect();
    const got = inbox(client);
    await until(() => got.length >= 50, () => `${got.length} of 50 messages`);
    equal(texts(got), Array.from({ length: 50 }, (_, i) => `n${i}`));
    await close(client);
    const again = await d.connect();
    const nothing = inbox(again);
    await sleep(300);
    equal(texts(nothing), []);
    await close(again);
  },

  'the fifty-first message is refused': async () => {
    const d = await fresh();
    for (let i = 0; i < 50; i++) await send(d, `n${i}`);
    const answer = await rest('POST', '/messages/devicebound', { body: Buffer.from('x'), headers: { 'iothub-to': `/devices/${d.device}/messages/devicebound` } });
    equal([answer.status, answer.headers.get('iothub-errorcode')], [403, 'DeviceMaximumQueueDepthExceeded'], answer.text);
    check(/50/.test(answer.text), 'the limit is not named', answer.text);
  },

  'messages arrive while the device is connected, in order': async () => {
    const d = await fresh();
    const client = await d.connect();
    const got = inbox(client);
    for (let i = 0; i < 100; i++) await send(d, `n${i}`);
    await until(() => got.length >= 100, () => `${got.length} of 100 messages`);
    equal(texts(got), Array.from({ length: 100 }, (_, i) => `n${i}`));
    await close(client);
  },

  'what the device did not take comes again': async () => {
    const d = await fresh();
    const first = await d.connect();
    first.setRetryPolicy(new NoRetry());
    // The process of the device dies with the message in its hands.
    first._transport._mqtt._mqttClient.handleMessage = () => {};
    await send(d, 'again');
    inbox(first, null);
    await sleep(300);
    equal(await count(d), 1);
    const second = await d.connect();
    const got = inbox(second);
    await until(() => got.length >= 1, 'the message');
    equal(texts(got), ['again']);
    await close(second);
    await first.close().catch(() => {});
  },

  'a message whose time is over is not delivered': async () => {
    const d = await fresh();
    await send(d, 'short', { 'iothub-expiry': new Date(Date.now() + 1000).toISOString() });
    await send(d, 'long', { 'iothub-expiry': new Date(Date.now() + 60000).toISOString() });
    await sleep(1500);
    const client = await d.connect();
    const got = inbox(client);
    await until(() => got.length >= 1, 'the message');
    await sleep(200);
    equal(texts(got), ['long']);
    await close(client);
  },

  'a purge empties the queue': async () => {
    const d = await fresh();
    for (let i = 0; i < 3; i++) await send(d, `n${i}`);
    const purge = await rest('DELETE', `/devices/${d.device}/commands`);
    equal([purge.status, purge.json], [200, { totalMessagesPurged: 3, deviceId: d.device, moduleId: null }], purge.text);
    equal(await count(d), 0);
  },

  'devices get their own messages': async () => {
    const [a, b] = [await fresh(), await fresh()];
    const [ca, cb] = [await a.connect(), await b.connect()];
    const [ga, gb] = [inbox(ca), inbox(cb)];
    await send(a, 'to a');
    await send(b, 'to b');
    await until(() => ga.length && gb.length, 'both messages');
    await sleep(100);
    equal([texts(ga), texts(gb)], [['to a'], ['to b']]);
    await close(ca);
    await close(cb);
  },

  'what is no message is refused': async () => {
    const d = await fresh();
    const to = `/devices/${d.device}/messages/devicebound`;
    const bad = [
      [404, 'x', { 'iothub-to': '/devices/nobody/messages/devicebound' }],
      [400, 'x', {}],
      [400, 'x', { 'iothub-to': '/devices' }],
      [400, 'x', { 'iothub-to': to, 'iothub-ack': 'maybe', 'iothub-messageid': 'm' }],
      [403, 'x', { 'iothub-to': to, 'iothub-expiry': '2001-01-01T00:00:00Z' }],
      [413, 'x'.repeat(65537), { 'iothub-to': to }],
    ];
    for (const [status, body, headers] of bad) {
      const answer = await rest('POST', '/messages/devicebound', { body: Buffer.from(body), headers });
      equal(answer.status, status, `${JSON.stringify(headers)}: ${answer.text}`);
      check(/^ErrorCode:[A-Za-z]+;/.test(answer.json.Message), 'the form of the error', answer.text);
    }
    equal(await count(d), 0);
  },

  'the sender hears what became of messages': async () => {
    const [d, purged] = [await fresh(), await fresh()];
    const client = await d.connect();
    inbox(client);
    await send(d, 'x', { 'iothub-messageid': `${d.device}-done`, 'iothub-ack': 'full' });
    await send(d, 'x', { 'iothub-messageid': `${d.device}-silent` });
    await send(purged, 'x', { 'iothub-messageid': `${d.device}-purged`, 'iothub-ack': 'negative' });
    await rest('DELETE', `/devices/${purged.device}/commands`);
    let [seen, abandoned] = [{}, false];
    const end = Date.now() + 25000;
    while (Object.keys(seen).length < 2 && Date.now() < end) {
      const batch = await rest('GET', '/messages/serviceBound/feedback');
      if (batch.status === 204) {
        await sleep(200);
        continue;
      }
      equal(batch.status, 200, batch.text);
      for (const f of JSON.parse(batch.text)) {
        if (f.originalMessageId.startsWith(d.device)) seen[f.originalMessageId] = [f.statusCode, f.deviceId, f.deviceGenerationId];
      }
      const token = batch.headers.get('etag').slice(1, -1);
      if (!abandoned) { // it comes again
        abandoned = true;
        equal((await rest('POST', `/messages/serviceBound/feedback/${token}/abandon`)).status, 204);
        seen = {};
        continue;
      }
      equal((await rest('DELETE', `/messages/serviceBound/feedback/${token}`)).status, 204);
      equal((await rest('DELETE', `/messages/serviceBound/feedback/${token}`)).status, 412);
    }
    equal(seen, {
      [`${d.device}-done`]: ['Success', d.device, d.identity.generationId],
      [`${d.device}-purged`]: ['Purged', purged.device, purged.identity.generationId],
    });
    await close(client);
  },
}));
