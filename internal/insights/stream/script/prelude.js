// What every script finds before it begins: a Date without a clock and in UTC,
// no code from texts, and built-in functions that refuse sizes which they
// could not be interrupted at. The value of this program is for Go.
(function (global) {
    const most = 1000000; // elements of an array, for what works on all of them
    const longest = 1 << 24; // characters of a text
    const deepest = 200; // built-in functions on arrays within each other
    const call = Function.prototype.call;
    const bind = Function.prototype.bind;
    const uncurry = bind.bind(call);
    const apply = uncurry(Function.prototype.apply);
    const own = Object.getOwnPropertyNames;
    const define = Object.defineProperty;
    const isArray = Array.isArray;
    const parse = JSON.parse;
    const stringify = JSON.stringify;
    const keys = Object.keys;
    const protoOf = Object.getPrototypeOf;
    const ObjectProto = Object.prototype;

    function put(object, name, value) {
        define(object, name, { value: value, writable: true, configurable: true, enumerable: false });
    }
    function refuse(text) {
        return function () { throw new TypeError(text); };
    }

    // Sizes.
    function sized(list) {
        if (list !== null && typeof list === 'object' && list.length > most) {
            throw new RangeError('an array of more than ' + most + ' elements');
        }
    }
    let depth = 0;
    const guarded = own(Array.prototype).filter(n => n !== 'constructor' && typeof Array.prototype[n] === 'function');
    for (const name of guarded) {
        const original = Array.prototype[name];
        if (name === 'push' || name === 'pop') {
            continue;
        }
        const wrapped = {
            [name](...args) {
                sized(this);
                if (name === 'concat') {
                    for (let i = 0; i < args.length; i++) sized(args[i]);
                }
                if (depth >= deepest) {
                    throw new RangeError('arrays in arrays, more than ' + deepest + ' deep');
                }
                depth++;
                try {
                    return apply(original, this, args);
                } finally {
                    depth--;
                }
            }
        }[name];
        put(Array.prototype, name, wrapped);
    }
    put(Array.prototype, Symbol.iterator, Array.prototype.values);
    const from = Array.from;
    put(Array, 'from', function (list, ...rest) {
        sized(list);
        return apply(from, this, [list, ...rest]);
    });
    const applyTo = Function.prototype.apply;
    put(Function.prototype, 'apply', function (that, list) {
        if (list !== null && list !== undefined && list.length > 65536) {
            throw new RangeError('more than 65536 arguments');
        }
        return apply(applyTo, this, [that, list]);
    });
    function longer(name, size) {
        const original = String.prototype[name];
        put(String.prototype, name, function (...args) {
            if (size(String(this), args) > longest) {
                throw new RangeError('a text of more than ' + longest + ' characters');
            }
            return apply(original, this, args);
        });
    }
    longer('repeat', (s, args) => s.length * Number(args[0]));
    longer('padStart', (s, args) => Number(args[0]));
    longer('padEnd', (s, args) => Number(args[0]));
    function measure(v, level) {
        if (v === null || typeof v !== 'object') return;
        if (level > deepest) throw new RangeError('objects in objects, more than ' + deepest + ' deep');
        if (isArray(v)) {
            sized(v);
            for (let i = 0; i < v.length; i++) measure(v[i], level + 1);
        } else {
            const names = keys(v);
            for (let i = 0; i < names.length; i++) measure(v[names[i]], level + 1);
        }
    }
    put(JSON, 'stringify', function (v, ...rest) {
        measure(v, 0);
        return apply(stringify, JSON, [v, ...rest]);
    });

    // No code from texts.
    for (const f of [function () { }, function* () { }, async function () { }]) {
        put(protoOf(f), 'constructor', refuse('code from texts is not available in queries'));
    }
    put(global, 'Function', refuse('code from texts is not available in queries'));
    put(global, 'eval', refuse('code from texts is not available in queries'));

    // What could take memory or time without bounds, and is not needed.
    for (const name of ['ArrayBuffer', 'SharedArrayBuffer', 'DataView', 'Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array',
        'Int32Array', 'Uint32Array', 'Float16Array', 'Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array', 'BigInt', 'Proxy', 'Reflect',
        'WeakRef', 'FinalizationRegistry', 'Promise', 'Atomics']) {
        delete global[name];
    }

    // Dates: no clock, and no time zone of the server.
    const D = Date;
    const proto = D.prototype;
    for (const n of ['Date', 'Day', 'FullYear', 'Hours', 'Milliseconds', 'Minutes', 'Month', 'Seconds']) {
        put(proto, 'get' + n, proto['getUTC' + n]);
        if (proto['setUTC' + n]) put(proto, 'set' + n, proto['setUTC' + n]);
    }
    put(proto, 'getTimezoneOffset', function () { return 0; });
    const iso = proto.toISOString;
    const utc = proto.toUTCString;
    for (const n of ['toString', 'toLocaleString', 'toGMTString']) put(proto, n, utc);
    for (const n of ['toDateString', 'toLocaleDateString']) put(proto, n, function () { return apply(iso, this, []).slice(0, 10); });
    for (const n of ['toTimeString', 'toLocaleTimeString']) put(proto, n, function () { return apply(iso, this, []).slice(11, 19); });
    const noClock = 'the clock is not available in queries, which are to give the same results again: use System.Timestamp()';
    const zoneless = /^\s*\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?\s*$/;
    function parseDate(text) {
        text = String(text);
        return D.parse(zoneless.test(text) ? text.trim().replace(' ', 'T').replace(',', '.') + 'Z' : text);
    }
    function UTCDate(...args) {
        if (!new.target || args.length === 0) throw new TypeError(noClock);
        if (args.length > 1) return new D(apply(D.UTC, D, args));
        const v = args[0];
        return new D(typeof v === 'string' ? parseDate(v) : v);
    }
    define(UTCDate, 'name', { value: 'Date' });
    define(UTCDate, 'prototype', { value: proto, writable: false });
    put(UTCDate, 'UTC', D.UTC);
    put(UTCDate, 'parse', parseDate);
    put(UTCDate, 'now', refuse(noClock));
    put(proto, 'constructor', UTCDate);
    put(global, 'Date', UTCDate);
    put(Math, 'random', refuse('random numbers are not available in queries, which are to give the same results again'));

    // The state of an aggregate as JSON and back. What JSON does not have is an
    // object with one member whose name begins with $.
    const time = uncurry(proto.getTime);
    const mapEach = uncurry(Map.prototype.forEach);
    const setEach = uncurry(Set.prototype.forEach);
    const slots = keys;
    function encode(v, path, level) {
        if (level > deepest) throw new RangeError('the state is more than ' + deepest + ' objects deep');
        switch (typeof v) {
            case 'number':
                return v - v === 0 && !(v === 0 && 1 / v < 0) ? v : { $number: 1 / v < 0 && v === 0 ? '-0' : String(v) };
            case 'undefined':
                return { $undefined: true };
            case 'function':
            case 'symbol':
                throw new TypeError('the state cannot be kept: ' + path + ' is a ' + typeof v);
            case 'object':
                break;
            default:
                return v;
        }
        if (v === null) return v;
        if (isArray(v)) {
            sized(v);
            const out = [];
            for (let i = 0; i < v.length; i++) out[i] = encode(v[i], path + '[' + i + ']', level + 1);
            return out;
        }
        if (v instanceof D) {
            return { $date: encode(time(v), path, level + 1) };
        }
        if (v instanceof Map) {
            const out = [];
            mapEach(v, (x, k) => { out[out.length] = [encode(k, path, level + 1), encode(x, path, level + 1)]; });
            return { $map: out };
        }
        if (v instanceof Set) {
            const out = [];
            setEach(v, x => { out[out.length] = encode(x, path, level + 1); });
            return { $set: out };
        }
        const p = protoOf(v);
        if (p !== ObjectProto && p !== null) {
            throw new TypeError('the state cannot be kept: ' + path + ' is an object of a class');
        }
        return members(v, path, level, false);
    }
    function members(v, path, level, methods) {
        const names = slots(v);
        const out = { __proto__: null };
        let plain = true;
        for (let i = 0; i < names.length; i++) {
            const n = names[i];
            if (methods && typeof v[n] === 'function') continue;
            if (n[0] === '$' || n === '__proto__') plain = false;
            put2(out, n, encode(v[n], path + '.' + n, level + 1));
        }
        return plain ? out : { $object: out };
    }
    function put2(object, name, value) {
        define(object, name, { value: value, writable: true, configurable: true, enumerable: true });
    }
    function decode(v) {
        if (v === null || typeof v !== 'object') return v;
        if (isArray(v)) {
            for (let i = 0; i < v.length; i++) v[i] = decode(v[i]);
            return v;
        }
        const names = slots(v);
        if (names.length === 1) {
            const x = v[names[0]];
            switch (names[0]) {
                case '$number': return Number(x);
                case '$undefined': return undefined;
                case '$date': return new D(decode(x));
                case '$map': return new Map(decode(x));
                case '$set': return new Set(decode(x));
                case '$object': return object(x);
            }
        }
        return object(v);
    }
    function object(v) {
        const names = slots(v);
        for (let i = 0; i < names.length; i++) put2(v, names[i], decode(v[names[i]]));
        return v;
    }
    return {
        date: D,
        save(self) {
            return stringify(members(self, 'this', 0, true));
        },
        load(self, text) {
            const names = slots(self);
            for (let i = 0; i < names.length; i++) {
                if (typeof self[names[i]] !== 'function') delete self[names[i]];
            }
            const state = decode(parse(text));
            const saved = slots(state);
            for (let i = 0; i < saved.length; i++) put2(self, saved[i], state[saved[i]]);
        },
    };
})(this);
