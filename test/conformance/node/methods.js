// Rows: direct methods, with the device SDK at one end and the service SDK at
// the other.
'use strict';

const { Client } = require('azure-iothub');
const { input, run } = require('./input');
const { check, equal, refused, rows, sleep, until } = require('./rows');
const { close, fresh, registry, rest } = require('./hub');

const service = Client.fromConnectionString(input.service);

const invoke = async (thing, methodName, payload, more = {}) => {
  const params = { methodName, payload, ...more };
  const call = thing.module
    ? service.invokeDeviceMethod(thing.device, thing.module, params)
    : service.invokeDeviceMethod(thing.device, params);
  return (await call).result;
};

// listen registers a method and returns once the device takes calls: methods
// are subscribed to with the first one, which has no way to tell that it is done.
const listen = async (client, name, handler) => {
  const on = client.onDeviceMethod ? 'onDeviceMethod' : 'onMethod';
  client[on](name, handler);
  await new Promise((resolve) => setImmediate(resolve));
  await client.getTwin(); // the subscription was sent before this
};

const echo = (request, response) => response.send(200, request.payload);

run(() => rows({
  'a call with payload and status': async () => {
    const d = await fresh();
    const client = await d.connect();
    let got;
    await listen(client, 'reboot', (request, response) => {
      got = request;
      response.send(201, { done: true, list: [1, 'é', null] });
    });
    const result = await invoke(d, 'reboot', { delay: 5, text: 'é 50% + 1' });
    equal(result, { status: 201, payload: { done: true, list: [1, 'é', null] } });
    equal([got.methodName, got.payload], ['reboot', { delay: 5, text: 'é 50% + 1' }]);
    await close(client);
  },

  'payloads of every kind come and go as they are': async () => {
    const d = await fresh();
    const client = await d.connect();
    await listen(client, 'echo', echo);
    for (const payload of ['text', '', 0, -1.5, true, false, null, [], {}, [[1], { a: { b: [] } }], 'x'.repeat(100000)]) {
      equal(await invoke(d, 'echo', payload), { status: 200, payload });
    }
    await close(client);
  },

  'an answer without payload is null': async () => {
    const d = await fresh();
    const client = await d.connect();
    await listen(client, 'quiet', (request, response) => response.send(204));
    equal(await invoke(d, 'quiet', null), { status: 204, payload: null });
    await close(client);
  },

  'a call without payload reaches the application with null': async () => {
    const d = await fresh();
    const client = await d.connect();
    await listen(client, 'bare', echo);
    // This SDK reads what comes as JSON, and could not read an empty text.
    const answer = await rest('POST', `${d.path}/methods`, { body: { methodName: 'bare' } });
    equal([answer.status, answer.json], [200, { status: 200, payload: null }], answer.text);
    equal(await invoke(d, 'bare', null), { status: 200, payload: null });
    await close(client);
  },

  'the status is the device\'s own': async () => {
    const d = await fresh();
    const client = await d.connect();
    await listen(client, 'status', (request, response) => response.send(request.payload, { because: 'asked' }));
    for (const status of [1, 400, 404, 500, 999, 12345, -1]) {
      equal(await invoke(d, 'status', status), { status, payload: { because: 'asked' } });
    }
    await close(client);
  },

  'an unknown device': async () => {
    await refused(service.invokeDeviceMethod('nobody', { methodName: 'm' }), 'DeviceNotFoundError');
  },

  'a disabled device': async () => {
    const d = await fresh({ status: 'disabled' });
    await refused(invoke(d, 'm'), 'DeviceNotFoundError');
  },

  'a device that is offline': async () => {
    const d = await fresh();
    const start = Date.now();
    await refused(invoke(d, 'm'));
    check(Date.now() - start < 3000, 'the answer took long', Date.now() - start);
    const answer = await rest('POST', `${d.path}/methods`, { body: { methodName: 'm' } });
    equal([answer.status, answer.headers.get('iothub-errorcode')], [404, 'DeviceNotOnline'], answer.text);
    const inner = JSON.parse(answer.json.Message);
    equal([inner.errorCode, inner.message], [404103, 'Timed out waiting for device to connect.']);
  },

  'a device that takes no methods is offline for them': async () => {
    const d = await fresh();
    const client = await d.connect();
    const answer = await rest('POST', `${d.path}/methods`, { body: { methodName: 'm' } });
    equal([answer.status, JSON.parse(answer.json.Message).errorCode], [404, 404103]);
    await close(client);
  },

  'a caller waits for a device to come': async () => {
    const d = await fresh();
    const call = invoke(d, 'echo', { early: true }, { connectTimeoutInSeconds: 20 });
    await sleep(200);
    const client = await d.connect();
    await listen(client, 'echo', echo);
    equal(await call, { status: 200, payload: { early: true } });
    await close(client);
  },

  'a device that does not answer': async () => {
    const d = await fresh();
    const client = await d.connect();
    let late;
    await listen(client, 'silent', (request, response) => { late = response; });
    await listen(client, 'echo', echo);
    const start = Date.now();
    const answer = await rest('POST', `${d.path}/methods`, { body: { methodName: 'silent', payload: null, responseTimeoutInSeconds: 5 } });
    equal([answer.status, answer.headers.get('iothub-errorcode')], [504, 'GatewayTimeout'], answer.text);
    const inner = JSON.parse(answer.json.Message);
    equal([inner.errorCode, inner.message], [504101, 'Timed out waiting for the response from device.']);
    check(Date.now() - start > 4500 && Date.now() - start < 8000, 'the time that it took', Date.now() - start);
    // An answer that comes too late is dropped, and the connection stays.
    await new Promise((resolve) => late.send(200, 'late', resolve));
    equal(await invoke(d, 'echo', 1), { status: 200, payload: 1 });
    await close(client);
  },

  'the service SDK has a class for a device that does not answer': async () => {
    const d = await fresh();
    const client = await d.connect();
    await listen(client, 'silent', () => {});
    await refused(invoke(d, 'silent', null, { responseTimeoutInSeconds: 5, connectTimeoutInSeconds: 1 }), 'GatewayTimeoutError');
    await close(client);
  },

  'a hundred calls at once find their answers': async () => {
    const d = await fresh();
    const client = await d.connect();
    const held = [];
    await listen(client, 'later', (request, response) => held.push([request, response]));
    const calls = Promise.all(Array.from({ length: 100 }, (_, i) => invoke(d, 'later', i)));
    await until(() => held.length === 100, () => `${held.length} of 100 calls`);
    for (const [request, response] of held.reverse()) response.send(200, request.payload * 2);
    equal((await calls).map((r) => r.payload), Array.from({ length: 100 }, (_, i) => i * 2));
    await close(client);
  },

  'names of methods': async () => {
    const d = await fresh();
    const client = await d.connect();
    for (const name of ['a', 'with-hyphen_and.dot', 'component*command', 'x'.repeat(100)]) {
      await listen(client, name, (request, response) => response.send(200, request.methodName));
      equal(await invoke(d, name), { status: 200, payload: name });
    }
    await close(client);
  },

  'what is no call is refused': async () => {
    const d = await fresh();
    const bad = [
      {}, { methodName: '' }, { methodName: 'x'.repeat(101) }, { methodName: 'é' }, { methodName: 5 },
      { methodName: 'm', responseTimeoutInSeconds: 4 }, { methodName: 'm', responseTimeoutInSeconds: 301 },
      { methodName: 'm', connectTimeoutInSeconds: -1 }, { methodName: 'm', connectTimeoutInSeconds: 301 },
      { methodName: 'm', payload: 'x'.repeat(128 * 1024 + 1) },
    ];
    for (const body of bad) {
      const answer = await rest('POST', `${d.path}/methods`, { body });
      check(answer.status === 400 || answer.status === 413, JSON.stringify(body).slice(0, 80), [answer.status, answer.text]);
      check(/^ErrorCode:[A-Za-z]+;/.test(answer.json.Message), 'the form of the error', answer.text);
    }
  },

  'methods of a module': async () => {
    const d = await fresh();
    const m = await d.add('camera');
    const [client, module] = [await d.connect(), await m.connect()];
    await listen(client, 'who', (request, response) => response.send(200, 'device'));
    await listen(module, 'who', (request, response) => response.send(200, 'module'));
    equal([await invoke(m, 'who'), await invoke(d, 'who')], [{ status: 200, payload: 'module' }, { status: 200, payload: 'device' }]);
    await close(module);
    await refused(invoke(m, 'who'));
    equal(await invoke(d, 'who'), { status: 200, payload: 'device' });
    await close(client);
    await refused(service.invokeDeviceMethod(d.device, 'nobody', { methodName: 'm' }));
  },

  'a device that comes back takes calls again': async () => {
    const d = await fresh();
    for (let i = 0; i < 3; i++) {
      const client = await d.connect();
      await listen(client, 'echo', echo);
      equal(await invoke(d, 'echo', i), { status: 200, payload: i });
      await close(client);
      await refused(invoke(d, 'echo', i));
    }
  },

  'after a takeover the new connection is called': async () => {
    const d = await fresh();
    const first = await d.connect();
    first.setRetryPolicy(new (require('azure-iot-common').NoRetry)());
    await listen(first, 'who', (request, response) => response.send(200, 'first'));
    const second = await d.connect();
    await listen(second, 'who', (request, response) => response.send(200, 'second'));
    equal(await invoke(d, 'who'), { status: 200, payload: 'second' });
    await close(second);
    await first.close().catch(() => {});
  },

  'a caller learns that the device was deleted': async () => {
    const d = await fresh();
    const client = await d.connect();
    client.setRetryPolicy(new (require('azure-iot-common').NoRetry)());
    await listen(client, 'silent', () => {});
    const start = Date.now();
    const call = rest('POST', `${d.path}/methods`, { body: { methodName: 'silent', payload: null, responseTimeoutInSeconds: 30 } });
    await sleep(200);
    await registry.delete(d.device);
    const answer = await call;
    equal(answer.status, 404, answer.text);
    check(Date.now() - start < 10000, 'the answer took long', Date.now() - start);
    await client.close().catch(() => {});
  },
}));
