// Rows: IoT Plug and Play, with a device as the public samples write one and
// the digital twin client of the service SDK.
'use strict';

const { Message } = require('azure-iot-device');
const { DigitalTwinClient, IoTHubTokenCredentials } = require('azure-iothub');
const { input, run } = require('./input');
const { check, equal, refused, rows, until } = require('./rows');
const { close, fresh, registry, rest } = require('./hub');

const digital = new DigitalTwinClient(new IoTHubTokenCredentials(input.service));

const controller = 'dtmi:com:example:TemperatureController;1';

// view gives the digital twin without what the client adds to it.
const view = async (id) => {
  const got = await digital.getDigitalTwin(id);
  const { eTag } = got._response.parsedHeaders;
  const twin = JSON.parse(got._response.bodyAsText);
  return { twin, eTag };
};

// The promise of an update has no answer, its callback has.
const patch = (id, ops, eTag) => new Promise((resolve, reject) => {
  digital.updateDigitalTwin(id, ops, eTag, (err, result, response) => {
    if (err) return reject(err);
    if (response.status !== 202) return reject(new Error(`status ${response.status}`));
    return resolve(response.parsedHeaders);
  });
});

// A device as the sample of the temperature controller: it answers writable
// properties of the root and of its components, and commands.
const start = async (d, components = ['thermostat1', 'thermostat2']) => {
  const client = await d.connect({ modelId: controller });
  const twin = await client.getTwin();
  const report = (properties) => new Promise((resolve, reject) => twin.properties.reported.update(properties, (err) => (err ? reject(err) : resolve())));
  const seen = [];
  const failed = [];
  const answer = (value, version) => ({ value, ac: 200, ad: 'Successfully executed patch', av: version });
  twin.on('properties.desired', (delta) => {
    seen.push(delta);
    const out = {};
    for (const [name, value] of Object.entries(delta)) {
      if (name.startsWith('$') || value === null) continue;
      if (components.includes(name)) {
        out[name] = { __t: 'c' };
        for (const [property, inner] of Object.entries(value)) {
          if (property !== '__t' && inner !== null) out[name][property] = answer(inner, delta.$version);
        }
      } else {
        out[name] = answer(value, delta.$version);
      }
    }
    report(out).catch((err) => failed.push(err));
  });
  const called = [];
  const respond = (status, payload) => (request, response) => {
    called.push([request.methodName, request.payload]);
    response.send(status, payload === undefined ? request.payload : payload);
  };
  client.onDeviceMethod('reboot', respond(200));
  for (const c of components) client.onDeviceMethod(`${c}*getMaxMinReport`, respond(200, { maxTemp: 25.3, component: c }));
  await report({ serialNumber: 'alwinexlepaho8329', ...Object.fromEntries(components.map((c) => [c, { __t: 'c', maxTempSinceLastReboot: 25.3 }])) });
  await client.getTwin(); // every subscription was sent before this
  seen.length = 0; // the first is the whole of the desired properties
  return { client, report, seen, called, failed };
};

run(() => rows({
  'the model id of a connection is shown by twins and queries, and stays': async () => {
    const d = await fresh();
    equal((await d.twin()).modelId, '');
    const { client } = await start(d);
    await until(() => true);
    equal((await d.twin()).modelId, controller);
    for (const where of [`modelId = '${controller}'`, "STARTS_WITH(modelId, 'dtmi:com:example')"]) {
      const query = registry.createQuery(`SELECT deviceId, modelId FROM devices WHERE ${where} AND deviceId = '${d.device}'`);
      equal((await query.next()).result, [{ deviceId: d.device, modelId: controller }], where);
    }
    await close(client);
    const plain = await d.connect();
    equal((await d.twin()).modelId, controller);
    await close(plain);
    const other = await d.connect({ modelId: 'dtmi:com:example:Other;2' });
    equal((await d.twin()).modelId, 'dtmi:com:example:Other;2');
    await close(other);
  },

  'telemetry of the root and of components': async () => {
    const d = await fresh();
    const { client } = await start(d);
    for (const component of ['', 'thermostat1', 'thermostat2']) {
      const message = new Message(JSON.stringify({ device: d.device, component }));
      if (component) message.properties.add('$.sub', component);
      message.contentType = 'application/json';
      message.contentEncoding = 'utf-8';
      await client.sendEvent(message);
    }
    await close(client);
  },

  'the digital twin of a device without a model': async () => {
    const d = await fresh();
    const { twin, eTag } = await view(d.device);
    equal(twin, { $dtId: d.device, $metadata: { $model: '' } });
    equal(eTag, '"AAAAAAAAAAE="');
  },

  'a digital twin shows values by component, and when they were reported': async () => {
    const d = await fresh();
    const { client } = await start(d);
    const { twin } = await view(d.device);
    const at = twin.$metadata.serialNumber.lastUpdateTime;
    check(Math.abs(Date.parse(at) - Date.now()) < 60000, 'the time of a report', at);
    const component = { maxTempSinceLastReboot: 25.3, $metadata: { maxTempSinceLastReboot: { lastUpdateTime: at } } };
    equal(twin, {
      $dtId: d.device, serialNumber: 'alwinexlepaho8329', thermostat1: component, thermostat2: component,
      $metadata: { $model: controller, serialNumber: { lastUpdateTime: at } },
    });
    await close(client);
  },

  'a writable property is written, told to the device and acknowledged': async () => {
    const d = await fresh();
    const dev = await start(d);
    const headers = await patch(d.device, [{ op: 'add', path: '/thermostat1/targetTemperature', value: 21.5 }, { op: 'add', path: '/interval', value: 10 }]);
    check(/^".+"$/.test(headers.eTag) && headers.location.endsWith(`/digitaltwins/${d.device}`), 'the headers', headers);
    await until(() => dev.seen.length === 1, 'the device is told');
    equal(dev.seen[0], { thermostat1: { __t: 'c', targetTemperature: 21.5 }, interval: 10, $version: 2 });
    let twin;
    await until(() => dev.failed.length > 0 || (view(d.device).then((v) => { twin = v.twin; }), twin && twin.interval === 10), 'the acknowledgement');
    equal(dev.failed, []);
    equal(twin.thermostat1.targetTemperature, 21.5);
    const meta = twin.thermostat1.$metadata.targetTemperature;
    delete meta.lastUpdateTime;
    equal(meta, { desiredValue: 21.5, desiredVersion: 2, ackVersion: 2, ackCode: 200, ackDescription: 'Successfully executed patch' });
    equal([twin.$metadata.interval.desiredValue, twin.$metadata.interval.ackVersion], [10, 2]);
    await close(dev.client);
  },

  'components are added, replaced and removed': async () => {
    const d = await fresh();
    const dev = await start(d);
    await patch(d.device, [{ op: 'add', path: '/thermostat1', value: { targetTemperature: 21.4, other: 42, $metadata: {} } }]);
    await patch(d.device, [{ op: 'replace', path: '/thermostat1', value: { targetTemperature: 27.9, $metadata: {} } }]);
    await patch(d.device, [{ op: 'replace', path: '/thermostat1/targetTemperature', value: 20.9 }, { op: 'remove', path: '/thermostat1' }]);
    await until(() => dev.seen.length === 3, () => `the device is told ${dev.seen.length} of 3`);
    equal(dev.seen, [
      { thermostat1: { __t: 'c', targetTemperature: 21.4, other: 42 }, $version: 2 },
      { thermostat1: { __t: 'c', targetTemperature: 27.9, other: null }, $version: 3 },
      { thermostat1: null, $version: 4 },
    ]);
    equal((await d.twin()).properties.desired.thermostat1, undefined);
    await close(dev.client);
  },

  'a patch against an old version is refused': async () => {
    const d = await fresh();
    const { eTag } = await view(d.device);
    const next = await patch(d.device, [{ op: 'add', path: '/a', value: 1 }], eTag);
    const err = await refused(digital.updateDigitalTwin(d.device, [{ op: 'add', path: '/a', value: 2 }], eTag));
    equal([err.statusCode, err.response.headers.get('iothub-errorcode')], [412, 'PreconditionFailed']);
    await patch(d.device, [{ op: 'add', path: '/a', value: 3 }], next.eTag);
    await patch(d.device, [{ op: 'add', path: '/a', value: 4 }], '*');
    equal((await d.twin()).properties.desired.a, 4);
  },

  'what is no patch of a digital twin is refused': async () => {
    const d = await fresh();
    for (const [ops, code] of [
      [[{ op: 'test', path: '/a', value: 1 }], 'InvalidDigitalTwinJsonPatch'],
      [[{ op: 'add', path: '/a', value: null }], 'InvalidDigitalTwinPayload'],
      [[{ op: 'remove', path: '/a' }], 'InvalidDigitalTwinPatch'],
      [[{ op: 'add', path: '/$metadata/x', value: 1 }], 'InvalidDigitalTwinPatchPath'],
    ]) {
      const err = await refused(digital.updateDigitalTwin(d.device, ops));
      equal([err.statusCode, err.response.headers.get('iothub-errorcode')], [400, code]);
    }
    const nobody = await refused(digital.getDigitalTwin('nobody'));
    equal([nobody.statusCode, nobody.response.headers.get('iothub-errorcode')], [404, 'DeviceNotFound']);
  },

  'commands of the root and of components': async () => {
    const d = await fresh();
    const dev = await start(d);
    const options = { connectTimeoutInSeconds: 5, responseTimeoutInSeconds: 7 };
    let result = await digital.invokeCommand(d.device, 'reboot', 5, options);
    equal([result._response.status, result.xMsCommandStatuscode, result.body], [200, 200, 5]);
    check(result.xMsRequestId, 'x-ms-request-id', result);
    result = await digital.invokeComponentCommand(d.device, 'thermostat2', 'getMaxMinReport', '2020-01-01', options);
    equal([result.xMsCommandStatuscode, result.body.maxTemp, result.body.component], [200, 25.3, 'thermostat2']);
    // The client makes JSON of a text that is JSON already: it goes as it came.
    await digital.invokeCommand(d.device, 'reboot', '{"delay":5}', options);
    await digital.invokeCommand(d.device, 'reboot', { delay: 5 }, options);
    equal(dev.called, [['reboot', 5], ['thermostat2*getMaxMinReport', '2020-01-01'], ['reboot', '{"delay":5}'], ['reboot', { delay: 5 }]]);
    await close(dev.client);
  },

  'a command that nobody takes': async () => {
    const d = await fresh();
    const offline = await refused(digital.invokeCommand(d.device, 'reboot', 5, { connectTimeoutInSeconds: 0, responseTimeoutInSeconds: 5 }));
    equal([offline.statusCode, offline.response.headers.get('iothub-errorcode')], [404, 'DeviceNotOnline']);
    const dev = await start(d);
    dev.client.onDeviceMethod('silent', () => {});
    // Not with the client, which tries again after that.
    const silent = await rest('POST', `/digitaltwins/${d.device}/commands/silent`, { body: '5', query: '&responseTimeoutInSeconds=5' });
    equal([silent.status, silent.headers.get('iothub-errorcode')], [504, 'GatewayTimeout'], silent.text);
    await close(dev.client);
  },
}));
