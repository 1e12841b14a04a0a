// Rows: automatic device configurations through the service SDK.
'use strict';

const { run } = require('./input');
const { check, equal, refused, rows } = require('./rows');
const { close, fresh, registry, rest } = require('./hub');

const body = async (promise) => (await promise).responseBody;

let last = 0;
const name = () => {
  last += 1;
  return `configuration-${last}`;
};

const make = (id, tag, content, more = {}) => ({
  id, schemaVersion: '1.0', content: { deviceContent: content }, targetCondition: `tags.configured = '${tag}'`, priority: 10, ...more,
});

const soon = async (what, read, want) => {
  const end = Date.now() + 10000;
  for (;;) {
    const got = await read();
    if (JSON.stringify(got) === JSON.stringify(want)) return;
    check(Date.now() < end, `${what} did not become ${JSON.stringify(want)}`, got);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

const tagged = async (tag) => {
  const d = await fresh();
  await d.update({ tags: { configured: tag } });
  return d;
};

const desired = (d, key) => async () => {
  const value = (await d.twin()).properties.desired[key];
  return value === undefined ? null : value;
};

run(() => rows({
  'a configuration is added, read, listed and removed': async () => {
    const id = name();
    const given = make(id, 'life', { 'properties.desired.chiller': { speed: 'fast' } }, { labels: { App: 'x' }, metrics: { queries: { mine: 'SELECT deviceId FROM devices WHERE tags.a = 1' } } });
    const added = await body(registry.addConfiguration(given));
    check(added.etag && Date.parse(added.createdTimeUtc) > 0, 'etag and time', added);
    const read = await body(registry.getConfiguration(id));
    equal([read.id, read.schemaVersion, read.labels, read.content, read.targetCondition, read.priority, read.metrics.queries],
      [id, '1.0', { App: 'x' }, given.content, given.targetCondition, 10, given.metrics.queries]);
    check((await body(registry.getConfigurations())).some((c) => c.id === id), 'the list');
    await registry.removeConfiguration(id);
    const gone = await rest('GET', `/configurations/${id}`);
    equal([gone.status, gone.headers.get('iothub-errorcode')], [404, 'ConfigurationNotFound'], gone.text);
    equal((await rest('DELETE', `/configurations/${id}`)).status, 404);
  },

  'it brings those that it targets in line, and tells them': async () => {
    const d = await tagged('line');
    const client = await d.connect({ transport: 'mqtt-ws' });
    const twin = await client.getTwin();
    const seen = [];
    twin.on('properties.desired', (patch) => seen.push(JSON.parse(JSON.stringify(patch))));
    await new Promise((resolve) => setImmediate(resolve));
    await twin.get();
    const id = name();
    await registry.addConfiguration(make(id, 'line', { 'properties.desired.chiller': { speed: 'fast' } }));
    await soon('the desired property', desired(d, 'chiller'), { speed: 'fast' });
    await soon('the status in the twin', async () => ((await d.twin()).configurations || {})[id], { status: 'Applied' });
    await soon('what the device is told', async () => (seen.some((p) => p.chiller && p.chiller.speed === 'fast')), true);
    // Whoever comes later is brought in line, too.
    const late = await tagged('line');
    await soon('the desired property of the second device', desired(late, 'chiller'), { speed: 'fast' });
    await soon('the system metrics', async () => {
      const { results } = (await body(registry.getConfiguration(id))).systemMetrics;
      return [results.targetedCount, results.appliedCount];
    }, [2, 2]);
    // And who is not targeted any more loses what it set.
    await late.update({ tags: { configured: 'other' } });
    await soon('the desired property of a device that is not targeted any more', desired(late, 'chiller'), null);
    await close(client);
    await registry.removeConfiguration(id);
  },

  'the higher priority wins, and the other comes back': async () => {
    const d = await tagged('priority');
    const [low, high] = [name(), name()];
    await registry.addConfiguration(make(low, 'priority', { 'properties.desired.mode': 'low' }, { priority: 1 }));
    await soon('the property', desired(d, 'mode'), 'low');
    await registry.addConfiguration(make(high, 'priority', { 'properties.desired.mode': 'high' }, { priority: 2 }));
    await soon('the property', desired(d, 'mode'), 'high');
    await registry.removeConfiguration(high);
    await soon('the property', desired(d, 'mode'), 'low');
    await registry.removeConfiguration(low);
  },

  'custom metrics count what their queries find': async () => {
    const d = await tagged('metric');
    const id = name();
    await registry.addConfiguration(make(id, 'metric', { 'properties.desired.m': 1 }, { metrics: { queries: { tagged: "SELECT deviceId FROM devices WHERE tags.configured = 'metric'" } } }));
    await soon('the desired property', desired(d, 'm'), 1);
    await soon('the metric', async () => ((await body(registry.getConfiguration(id))).metrics.results || {}).tagged, 1);
    await registry.removeConfiguration(id);
  },

  'it is updated with its etag, its content never': async () => {
    const id = name();
    await registry.addConfiguration(make(id, 'update', { 'properties.desired.a': 1 }));
    const read = await body(registry.getConfiguration(id));
    const changed = await body(registry.updateConfiguration({ ...read, priority: 20, labels: { b: 'c' } }));
    equal([changed.priority, changed.labels], [20, { b: 'c' }]);
    await refused(registry.updateConfiguration({ ...read, priority: 30 }), 'InvalidEtagError');
    equal((await body(registry.updateConfiguration({ ...read, priority: 30 }, true))).priority, 30);
    const now = await body(registry.getConfiguration(id));
    const content = await rest('PUT', `/configurations/${id}`, { body: { ...now, content: { deviceContent: { 'properties.desired.a': 2 } } }, headers: { 'If-Match': '*' } });
    equal([content.status, content.headers.get('iothub-errorcode')], [400, 'CannotModifyImmutableConfigurationContent'], content.text);
    const twice = await rest('PUT', `/configurations/${id}`, { body: make(id, 'x', { 'properties.desired.a': 1 }) });
    equal([twice.status, twice.headers.get('iothub-errorcode')], [409, 'ConfigurationAlreadyExists'], twice.text);
    await registry.removeConfiguration(id);
  },

  'queries are tested before they are used': async () => {
    const good = await rest('POST', '/configurations/testQueries', { body: { targetCondition: "tags.a = 'b'", customMetricQueries: { m: 'SELECT deviceId FROM devices' } } });
    equal([good.status, good.json.targetConditionError || '', good.json.customMetricQueryErrors || {}], [200, '', {}], good.text);
    const bad = await rest('POST', '/configurations/testQueries', { body: { targetCondition: 'tags.a = ', customMetricQueries: { m: 'SELECT' } } });
    check(bad.status === 200 && bad.json.targetConditionError && bad.json.customMetricQueryErrors.m, 'the errors', bad.text);
  },

  'modules are configured': async () => {
    const d = await fresh();
    const m = await d.add('camera');
    await m.update({ tags: { configured: 'module' } });
    const id = name();
    await registry.addConfiguration({ id, schemaVersion: '1.0', priority: 1, targetCondition: "FROM devices.modules WHERE tags.configured = 'module'", content: { moduleContent: { 'properties.desired.zoom': 3 } } });
    await soon('the desired property', desired(m, 'zoom'), 3);
    await registry.removeConfiguration(id);
  },

  'content is applied to one device': async () => {
    const d = await fresh({ capabilities: { iotEdge: true } });
    await registry.applyConfigurationContentOnDevice(d.device, {
      modulesContent: { $edgeAgent: { 'properties.desired': { schemaVersion: '1.1', runtime: { type: 'docker' }, modules: { camera: { type: 'docker', version: '1' } } } }, camera: { 'properties.desired': { zoom: 4 } } },
    });
    equal((await body(registry.getModuleTwin(d.device, 'camera'))).properties.desired.zoom, 4);
    equal((await body(registry.getModuleTwin(d.device, '$edgeAgent'))).properties.desired.runtime, { type: 'docker' });
    equal((await body(registry.getModule(d.device, 'camera'))).managedBy, 'iotEdge');
    const missing = await rest('POST', '/devices/missing/applyConfigurationContent', { body: { modulesContent: {} } });
    equal(missing.status, 404, missing.text);
  },

  'what is no configuration is refused': async () => {
    for (const [id, more, code] of [
      [name(), { targetCondition: 'tags.a = ' }, 'InvalidConfigurationTargetCondition'],
      [name(), { content: {} }, 'InvalidConfigurationContent'],
      [name(), { content: { deviceContent: { 'properties.reported.a': 1 } } }, 'InvalidConfigurationContent'],
      [name(), { metrics: { queries: { m: 'SELECT' } } }, 'InvalidConfigurationCustomMetricsQuery'],
      [name(), { priority: -1 }, 'ArgumentInvalid'],
      ['Upper', {}, 'ArgumentInvalid'],
    ]) {
      const answer = await rest('PUT', `/configurations/${id}`, { body: make(id, 'bad', { 'properties.desired.a': 1 }, more) });
      equal([answer.status, answer.headers.get('iothub-errorcode')], [400, code], `${JSON.stringify(more)}: ${answer.text}`);
    }
  },
}));
