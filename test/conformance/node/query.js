// Rows: the query language through the service SDK.
'use strict';

const { isDeepStrictEqual } = require('util');
const { run } = require('./input');
const { check, equal, refused, rows } = require('./rows');
const { close, fresh, registry, rest } = require('./hub');

// all reads every page of a query.
const all = async (text, pageSize) => {
  const query = registry.createQuery(text, pageSize);
  const list = [];
  let pages = 0;
  while (query.hasMoreResults && pages < 1000) {
    list.push(...(await query.nextAsTwin()).result);
    pages += 1;
  }
  return { list, pages };
};

const ids = async (text) => (await all(text)).list.map((t) => t.deviceId).sort();

// fleet makes devices that only the caller's queries find.
const fleet = async (name, tags) => {
  const made = [];
  for (const t of tags) {
    const d = await fresh();
    await d.update({ tags: { fleet: name, ...t } });
    made.push(d);
  }
  return made;
};

const names = (list) => list.map((d) => d.device).sort();

run(() => rows({
  'twins by tags': async () => {
    const f = await fleet('tags', [{ site: 'north', floor: 1 }, { site: 'north', floor: 2 }, { site: 'south', floor: 1 }, {}]);
    const of = (condition) => ids(`SELECT * FROM devices WHERE tags.fleet = 'tags' AND (${condition})`);
    equal(await of("tags.site = 'north'"), names([f[0], f[1]]));
    equal(await of("tags.site = 'north' AND tags.floor > 1"), names([f[1]]));
    equal(await of("tags.site != 'north'"), names([f[2]]), 'what is undefined is not unequal');
    equal(await of('NOT IS_DEFINED(tags.site)'), names([f[3]]));
    equal(await of("tags.site IN ['south', 'east']"), names([f[2]]));
    equal(await of("tags.floor = '1'"), [], 'a text is not a number');
    equal(await of("STARTS_WITH(tags.site, 'so') OR tags.floor = 2"), names([f[1], f[2]]));
  },

  'a twin of a query is whole': async () => {
    const [d] = await fleet('whole', [{ n: 1 }]);
    await d.desire({ a: { b: [1, null] } });
    const { list } = await all("SELECT * FROM devices WHERE tags.fleet = 'whole'");
    const read = await d.twin();
    const plain = (t) => {
      const { _registry, ...members } = t;
      return JSON.parse(JSON.stringify(members));
    };
    equal([list.length, plain(list[0])], [1, plain(read)]);
  },

  'members of the identity': async () => {
    const f = await fleet('identity', [{}, {}]);
    await registry.update({ deviceId: f[0].device, status: 'disabled' });
    const client = await f[1].connect();
    const of = (condition) => ids(`SELECT * FROM devices WHERE tags.fleet = 'identity' AND ${condition}`);
    equal(await of("status = 'disabled'"), names([f[0]]));
    equal(await of(`deviceId = '${f[0].device}'`), names([f[0]]));
    // Connection states are stored in groups, once a second.
    const soon = async (condition, want) => {
      const end = Date.now() + 5000;
      while (!isDeepStrictEqual(await of(condition), want)) check(Date.now() < end, `${condition} did not become ${want}`);
    };
    await soon("connectionState = 'Connected'", names([f[1]]));
    await close(client);
    await soon("connectionState = 'Connected'", []);
  },

  'reported and desired properties': async () => {
    const f = await fleet('properties', [{}, {}]);
    const client = await f[0].connect();
    const twin = await client.getTwin();
    await new Promise((resolve, reject) => twin.properties.reported.update({ battery: { level: 12 }, 'with-hyphen': 1 }, (err) => (err ? reject(err) : resolve())));
    await f[1].desire({ mode: 'eco' });
    const of = (condition) => ids(`SELECT * FROM devices WHERE tags.fleet = 'properties' AND ${condition}`);
    equal(await of('properties.reported.battery.level < 20'), names([f[0]]));
    equal(await of('properties.reported.[[with-hyphen]] = 1'), names([f[0]]));
    equal(await of("properties.desired.mode = 'eco'"), names([f[1]]));
    equal(await of('properties.desired.$version = 2'), names([f[1]]));
    await close(client);
  },

  'projections and aggregates': async () => {
    await fleet('group', [{ site: 'a', n: 1 }, { site: 'a', n: 2 }, { site: 'b', n: 3 }]);
    const raw = async (text) => (await rest('POST', '/devices/query', { body: { query: text } }));
    const rowsOf = async (text) => {
      const answer = await raw(text);
      equal([answer.status, answer.headers.get('x-ms-item-type').toLowerCase()], [200, 'raw'], answer.text);
      return answer.json;
    };
    equal(await rowsOf("SELECT COUNT() AS total FROM devices WHERE tags.fleet = 'group'"), [{ total: 3 }]);
    equal((await rowsOf("SELECT tags.site AS site, COUNT() AS n, MAX(tags.n) AS most FROM devices WHERE tags.fleet = 'group' GROUP BY tags.site")).sort((a, b) => (a.site < b.site ? -1 : 1)),
      [{ site: 'a', n: 2, most: 2 }, { site: 'b', n: 1, most: 3 }]);
    equal((await rowsOf("SELECT tags.n FROM devices WHERE tags.fleet = 'group'")).map((r) => r.n).sort(), [1, 2, 3]);
    const query = registry.createQuery("SELECT COUNT() AS total FROM devices WHERE tags.fleet = 'group'");
    equal((await query.next()).result, [{ total: 3 }]);
  },

  'modules': async () => {
    const d = await fresh();
    const m = await d.add('camera');
    await m.update({ tags: { fleet: 'modules' } });
    const { list } = await all("SELECT * FROM devices.modules WHERE tags.fleet = 'modules'");
    equal(list.map((t) => [t.deviceId, t.moduleId]), [[d.device, 'camera']]);
  },

  'pages': async () => {
    const f = await fleet('pages', Array.from({ length: 25 }, (_, n) => ({ n })));
    const { list, pages } = await all("SELECT * FROM devices WHERE tags.fleet = 'pages'", 10);
    equal([list.map((t) => t.deviceId).sort(), pages], [names(f), 3]);
    const exact = await all("SELECT * FROM devices WHERE tags.fleet = 'pages' AND tags.n < 20", 10);
    equal([exact.list.length, exact.pages], [20, 2], 'no page follows the last row');
    const none = await all("SELECT * FROM devices WHERE tags.fleet = 'nothing'", 10);
    equal([none.list, none.pages], [[], 1]);
  },

  'a device that goes between two pages takes no other with it': async () => {
    const f = await fleet('moving', Array.from({ length: 12 }, (_, n) => ({ n })));
    const query = registry.createQuery("SELECT * FROM devices WHERE tags.fleet = 'moving'", 5);
    const first = (await query.nextAsTwin()).result.map((t) => t.deviceId);
    await registry.delete(first[0]);
    const rest = [];
    while (query.hasMoreResults) rest.push(...(await query.nextAsTwin()).result.map((t) => t.deviceId));
    equal([...first, ...rest].sort(), names(f));
  },

  'a change is seen at once': async () => {
    const [d] = await fleet('now', [{ n: 0 }]);
    for (let n = 1; n <= 10; n++) {
      await d.update({ tags: { n } });
      equal(await ids(`SELECT * FROM devices WHERE tags.fleet = 'now' AND tags.n = ${n}`), [d.device]);
    }
  },

  'what is no query is refused': async () => {
    for (const text of ['', 'SELECT', 'SELECT * FROM nothing', "SELECT * FROM devices WHERE tags.a = '", 'SELECT * FROM devices WHERE', 'DELETE FROM devices', 'SELECT * FROM devices; DROP TABLE devices', `SELECT * FROM devices WHERE ${'('.repeat(2000)}`, `SELECT * FROM devices WHERE tags.a = '${'x'.repeat(9000)}'`]) {
      const answer = await rest('POST', '/devices/query', { body: { query: text } });
      equal(answer.status, 400, `${text.slice(0, 60)}: ${answer.text}`);
      check(/^ErrorCode:[A-Za-z]+;/.test(answer.json.Message), 'the form of the error', answer.text);
    }
    await refused(registry.createQuery('SELECT * FROM nothing').nextAsTwin(), 'ArgumentError');
    const foreign = await rest('POST', '/devices/query', { body: { query: 'SELECT * FROM devices' }, headers: { 'x-ms-continuation': 'bm90IG9uZQ==' } });
    equal(foreign.status, 400, foreign.text);
  },
}));
