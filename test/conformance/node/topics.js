// Rows: each topic of the MQTT surface with a plain MQTT client, as a program
// without an SDK uses it. What the devices topics-... send is checked in the
// log by the test that runs this.
'use strict';

const fs = require('fs');
const mqtt = require('mqtt');
const { SharedAccessSignature } = require('azure-iot-common');
const { input, run } = require('./input');
const { check, equal, rows, until } = require('./rows');
const { fresh, registry, rest } = require('./hub');

const hub = require('azure-iot-common').ConnectionString.parse(input.service).HostName;
const ca = fs.readFileSync(input.ca);

// plain opens a connection of a device or module; more are options of CONNECT.
const plain = async (d, more = {}) => {
  const path = d.module ? `${d.device}/${d.module}` : d.device;
  const resource = d.module ? `${hub}/devices/${d.device}/modules/${d.module}` : `${hub}/devices/${d.device}`;
  const { primaryKey } = d.identity.authentication.symmetricKey;
  const client = mqtt.connect(input.transport === 'mqtt-ws' ? `wss://${input.host}/$iothub/websocket` : `mqtts://${input.host}`, {
    ca, clientId: path, username: `${hub}/${path}/?api-version=2021-04-12`, protocolVersion: 4, clean: false, keepalive: 30, reconnectPeriod: 0,
    password: SharedAccessSignature.create(resource, null, primaryKey, Math.floor(Date.now() / 1000) + 3600).toString(),
    ...more,
  });
  const messages = [];
  client.on('message', (topic, payload, packet) => messages.push({ topic, text: payload.toString(), qos: packet.qos, dup: packet.dup }));
  client.on('error', () => {});
  let closed = false;
  client.on('close', () => { closed = true; });
  await new Promise((resolve, reject) => {
    client.once('connect', resolve);
    client.once('error', reject);
    client.once('close', () => reject(new Error('closed')));
  });
  const p = (name) => (...args) => new Promise((resolve, reject) => {
    client[name](...args, (err, granted) => (err ? reject(err) : resolve(granted)));
  });
  return {
    client, messages, closed: () => closed, publish: p('publish'), subscribe: p('subscribe'), unsubscribe: p('unsubscribe'),
    end: () => new Promise((resolve) => { client.end(false, {}, resolve); }),
    one: async (n = 1) => {
      await until(() => messages.length >= n, () => `${messages.length} of ${n} messages`);
      return messages[n - 1];
    },
  };
};

const send = async (d, body, headers = {}) => {
  const to = `/devices/${encodeURIComponent(d.device)}${d.module ? `/modules/${d.module}` : ''}/messages/devicebound`;
  const answer = await rest('POST', '/messages/devicebound', { body: Buffer.from(body), headers: { 'iothub-to': to, ...headers } });
  equal(answer.status, 204, answer.text);
};

// name makes ids that the test finds in the log.
const sender = (row) => fresh({ deviceId: `topics-${row}-${input.transport}` });

run(() => rows({
  'devices/{d}/messages/events/{bag}': async () => {
    const d = await sender('events');
    const c = await plain(d);
    const topic = `devices/${d.device}/messages/events`;
    await c.publish(topic, 'no slash', { qos: 1 });
    await c.publish(`${topic}/`, 'slash', { qos: 0 });
    await c.publish(`${topic}/a=1&b=x%20y&%24.mid=m1&$.ct=application%2Fjson`, '"bag"', { qos: 1 });
    await c.publish(`${topic}/?a=1`, 'question mark', { qos: 1 });
    await c.publish(`${topic}/p=v&%24.ct=application/json`, '"raw slash"', { qos: 1 });
    await c.publish(`${topic}/`, 'retained', { qos: 1, retain: true });
    await c.publish(`${topic}/`, 'again', { qos: 1, dup: true });
    await c.publish(`${topic}/`, '', { qos: 1 });
    equal(c.closed(), false);
    await c.end();
  },

  'devices/{d}/modules/{m}/messages/events/{bag}': async () => {
    const m = await (await sender('module')).add('camera');
    const c = await plain(m);
    await c.publish(`devices/${m.device}/modules/camera/messages/events/%24.on=out1/`, 'of the module', { qos: 1 });
    await c.end();
  },

  'a will becomes a message': async () => {
    const d = await sender('will');
    const c = await plain(d, { will: { topic: `devices/${d.device}/messages/events/a=1`, payload: 'gone', qos: 1, retain: false } });
    await c.publish(`devices/${d.device}/messages/events/`, 'here', { qos: 1 });
    c.client.stream.destroy();
    await until(() => c.closed(), 'the end');
    const end = Date.now() + 5000;
    while ((await registry.get(d.device)).responseBody.connectionState !== 'Disconnected') check(Date.now() < end, 'the device is still connected');
  },

  'a topic that is not its own ends the connection': async () => {
    for (const topic of ['devices/somebody/messages/events/', 'anything', '$iothub/nothing/?$rid=1', 'devices/x']) {
      const c = await plain(await fresh());
      c.publish(topic, 'x', { qos: 1 }).catch(() => {});
      await until(() => c.closed(), topic);
    }
  },

  'QoS 2 ends the connection': async () => {
    const d = await fresh();
    const c = await plain(d);
    c.publish(`devices/${d.device}/messages/events/`, 'x', { qos: 2 }).catch(() => {});
    await until(() => c.closed(), 'the end');
  },

  'a filter that is not listed is refused alone': async () => {
    const d = await fresh();
    const c = await plain(d);
    const granted = [];
    c.client.on('packetreceive', (p) => { if (p.cmd === 'suback') granted.push(...p.granted); });
    await c.subscribe(['$iothub/twin/res/#', 'devices/somebody/messages/devicebound/#', '#', '$SYS/#'], { qos: 1 }).catch(() => {});
    await until(() => granted.length === 4, 'SUBACK');
    equal([granted, c.closed()], [[1, 128, 128, 128], false]);
    await c.subscribe('$iothub/methods/POST/#', { qos: 2 });
    equal(granted[4], 1, 'QoS 2 is granted as 1');
    await c.end();
  },

  '$iothub/twin/GET/ with QoS 0 and 1': async () => {
    const d = await fresh();
    await d.desire({ a: 1 });
    for (const qos of [0, 1]) {
      const c = await plain(d);
      await c.subscribe('$iothub/twin/res/#', { qos });
      await c.publish('$iothub/twin/GET/?$rid=some%20request', '', { qos });
      const m = await c.one();
      equal([m.topic, m.qos, JSON.parse(m.text)], ['$iothub/twin/res/200/?$rid=some%20request', qos, { desired: { a: 1, $version: 2 }, reported: { $version: 1 } }]);
      await c.end();
    }
  },

  '$iothub/twin/PATCH/properties/reported/': async () => {
    const d = await fresh();
    const c = await plain(d);
    await c.subscribe('$iothub/twin/res/#', { qos: 0 });
    const patch = '$iothub/twin/PATCH/properties/reported/';
    await c.publish(`${patch}?$rid=1`, '{"a":1}', { qos: 1 });
    equal((await c.one(1)), { topic: '$iothub/twin/res/204/?$rid=1&$version=2', text: '', qos: 0, dup: false });
    await c.publish(`${patch}?$rid=2&$version=2`, '{"b":2}', { qos: 0 });
    equal((await c.one(2)).topic, '$iothub/twin/res/204/?$rid=2&$version=3');
    for (const [rid, query, body, status, code] of [
      ['3', '&$version=2', '{"c":3}', 412, 412], ['4', '', '{', 400, 400], ['5', '', '[]', 400, 400], ['6', '', '{"a.b":1}', 400, 400],
    ]) {
      await c.publish(`${patch}?$rid=${rid}${query}`, body, { qos: 0 });
      const m = await c.one(Number(rid));
      equal(m.topic, `$iothub/twin/res/${status}/?$rid=${rid}`);
      const { errorCode, message, trackingId, timestampUtc } = JSON.parse(m.text);
      check(Math.floor(errorCode / 1000) === code && message && trackingId && timestampUtc, 'the body of an error', m.text);
    }
    const { a, b, $version } = (await d.twin()).properties.reported;
    equal([a, b, $version, c.closed()], [1, 2, 3, false]);
    await c.end();
  },

  '$iothub/twin/PATCH/properties/desired/ with QoS 0 and 1': async () => {
    const d = await fresh();
    for (const qos of [0, 1]) {
      const c = await plain(d);
      await c.subscribe('$iothub/twin/PATCH/properties/desired/#', { qos });
      await d.desire({ n: qos, gone: null });
      equal(await c.one(), { topic: `$iothub/twin/PATCH/properties/desired/?$version=${qos + 2}`, text: JSON.stringify({ n: qos, gone: null, $version: qos + 2 }), qos, dup: false });
      await c.end();
    }
  },

  'unsubscribing ends it': async () => {
    const d = await fresh();
    const c = await plain(d);
    await c.subscribe('$iothub/twin/PATCH/properties/desired/#', { qos: 1 });
    await d.desire({ n: 1 });
    await c.one();
    await c.unsubscribe('$iothub/twin/PATCH/properties/desired/#');
    await d.desire({ n: 2 });
    await c.subscribe('$iothub/twin/PATCH/properties/desired/#', { qos: 1 });
    await d.desire({ n: 3 });
    await c.one(2);
    equal(c.messages.map((m) => JSON.parse(m.text).n), [1, 3]);
    await c.end();
  },

  '$iothub/methods/POST/{name}/ and $iothub/methods/res/{status}/': async () => {
    const d = await fresh();
    for (const filter of ['$iothub/methods/POST/#', '$iothub/methods/POST/reboot/#']) {
      const c = await plain(d);
      await c.subscribe(filter, { qos: 1 });
      const call = rest('POST', `${d.path}/methods`, { body: { methodName: 'reboot', payload: { delay: 1 } } });
      const m = await c.one();
      const [, rid] = /^\$iothub\/methods\/POST\/reboot\/\?\$rid=(.+)$/.exec(m.topic) || [];
      check(rid, 'the topic', m);
      equal(JSON.parse(m.text), { delay: 1 });
      await c.publish('$iothub/methods/res/200/?$rid=unknown', '"late"', { qos: 1 });
      await c.publish(`$iothub/methods/res/-7/?$rid=${rid}`, '{"done":true}', { qos: 1 });
      equal((await call).json, { status: -7, payload: { done: true } });
      equal(c.closed(), false);
      await c.end();
    }
  },

  'devices/{d}/messages/devicebound/{bag}': async () => {
    const d = await fresh();
    await send(d, 'waited', { 'iothub-messageid': 'm 1', 'iothub-app-p': 'v/1', 'iothub-app-empty': '' });
    const c = await plain(d);
    await c.subscribe(`devices/${d.device}/messages/devicebound/#`, { qos: 1 });
    const m = await c.one();
    const [head, bag] = [m.topic.slice(0, m.topic.lastIndexOf('/') + 1), m.topic.slice(m.topic.lastIndexOf('/') + 1)];
    equal([head, m.text, m.qos], [`devices/${d.device}/messages/devicebound/`, 'waited', 1]);
    const pairs = Object.fromEntries(bag.split('&').map((pair) => pair.split('=').map(decodeURIComponent)));
    equal([pairs['$.mid'], pairs['$.to'], pairs.p, pairs.empty], ['m 1', `/devices/${d.device}/messages/devicebound`, 'v/1', '']);
    await c.end();
  },

  'what was not acknowledged comes again, marked': async () => {
    const d = await fresh();
    const first = await plain(d);
    first.client.handleMessage = () => {}; // no PUBACK
    await first.subscribe(`devices/${d.device}/messages/devicebound/#`, { qos: 1 });
    let got = 0;
    first.client.on('packetreceive', (p) => { got += p.cmd === 'publish'; });
    await send(d, 'x');
    await until(() => got === 1, 'the message');
    first.client.stream.destroy();
    const second = await plain(d);
    await second.subscribe(`devices/${d.device}/messages/devicebound/#`, { qos: 1 });
    const m = await second.one();
    equal([m.text, m.dup], ['x', true]);
    await second.end();
  },

  'modules have topics of their own': async () => {
    const d = await fresh();
    const m = await d.add('camera');
    const c = await plain(m);
    await c.subscribe([`devices/${d.device}/modules/camera/inputs/#`, `devices/${d.device}/modules/camera/messages/devicebound/#`, '$iothub/twin/PATCH/properties/desired/#'], { qos: 1 });
    await send(m, 'for the module');
    equal((await c.one()).text, 'for the module');
    await m.desire({ zoom: 2 });
    equal(JSON.parse((await c.one(2)).text), { zoom: 2, $version: 2 });
    await c.end();
  },

  'the newer of two connections stays': async () => {
    const d = await fresh();
    const first = await plain(d);
    const second = await plain(d);
    await until(() => first.closed(), 'the end of the first');
    await second.publish(`devices/${d.device}/messages/events/`, 'x', { qos: 1 });
    await second.end();
  },
}));
