// Rows of a compatibility table: each is a name and what must hold, of devices
// of its own. A few are checked at a time, and one that fails does not keep the
// others from running. Lines on standard output: first {"plan": [names]}, then
// {"row", "milliseconds"} with "failed" if it did.
'use strict';

const { isDeepStrictEqual, inspect } = require('util');
const { print } = require('./input');

const limit = 30000;
const together = 4;

const one = async (row, check) => {
  const start = Date.now();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${limit} ms`)), limit);
  });
  try {
    await Promise.race([check(), late]);
    print({ row, milliseconds: Date.now() - start });
  } catch (err) {
    const stack = err.stack.split('\n    at ').slice(1, 4).join('\n');
    print({ row, milliseconds: Date.now() - start, failed: `${err.name}: ${err.message}\n${stack}` });
  } finally {
    clearTimeout(timer);
  }
};

exports.rows = async (table) => {
  const left = Object.entries(table);
  print({ plan: left.map(([row]) => row) });
  await Promise.all(Array.from({ length: together }, async () => {
    while (left.length > 0) await one(...left.shift());
  }));
};

const show = (v) => inspect(v, { depth: 8, breakLength: 160, maxStringLength: 300 }).slice(0, 1500);

exports.equal = (got, want, what = 'got') => {
  if (!isDeepStrictEqual(got, want)) throw new Error(`${what}: ${show(got)}, want ${show(want)}`);
};

exports.check = (condition, what, seen) => {
  if (!condition) throw new Error(seen === undefined ? what : `${what}: ${show(seen)}`);
};

// until waits for something that comes by itself.
exports.until = async (condition, what, patience = 10000) => {
  const end = Date.now() + patience;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${patience} ms: ${typeof what === 'function' ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

// refused gives the error of a promise that must be rejected: of the class
// that applications branch on, with a text that says why.
exports.refused = async (promise, name, text) => {
  let value;
  try {
    value = await promise;
  } catch (err) {
    if (name && err.name !== name || text && !text.test(err.message)) {
      throw new Error(`refused as ${err.name}: ${err.message}, want ${name || 'an error'} ${text || ''}`);
    }
    return err;
  }
  throw new Error(`was not refused: ${show(value && value.responseBody || value)}`);
};

exports.sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
