// Rows: the upload of files by devices, with the client of blobs that the
// device SDK brings, and what applications hear of it. The device SDK uploads
// over HTTPS whatever its transport is.
'use strict';

const crypto = require('crypto');
const { Readable } = require('stream');
const { AnonymousCredential, BlockBlobClient, newPipeline } = require('@azure/storage-blob');
const { input, run } = require('./input');
const { check, equal, refused, rows, sleep } = require('./rows');
const { close, fresh, rest } = require('./hub');

const queue = '/messages/serviceBound/filenotifications';

// told gives the notification of a file. Each is given back once and taken for
// good when it comes again.
const notes = new Map();
const told = async (name, patience = 15000) => {
  for (let end = Date.now() + patience; Date.now() < end && !notes.has(name);) {
    const answer = await rest('GET', queue);
    if (answer.status === 204) {
      await sleep(100);
      continue;
    }
    equal(answer.status, 200, answer.text);
    const at = `${queue}/${answer.headers.get('etag').slice(1, -1)}`;
    if (answer.headers.get('iothub-deliverycount') === '0') {
      equal((await rest('POST', `${at}/abandon`)).status, 204);
      continue;
    }
    equal((await rest('DELETE', at)).status, 204);
    equal((await rest('DELETE', at)).status, 412);
    const note = JSON.parse(answer.text);
    notes.set(note.blobName, note);
  }
  check(notes.has(name), `nothing was told of ${name}`);
  return notes.get(name);
};

// at is the address of what a device was given for its upload.
const at = (info) => `https://${info.hostName}/${info.containerName}/${info.blobName}${info.sasToken}`;

const blobOf = (info, url = at(info)) => new BlockBlobClient(url, newPipeline(new AnonymousCredential(), { retryOptions: { maxTries: 1 } }));

const body = async (info) => (await blobOf(info).downloadToBuffer()).toString();

// stream gives n bytes and hash, which knows their sum when all were taken.
const stream = (n) => {
  const hash = crypto.createHash('sha256');
  const piece = crypto.randomBytes(1 << 20);
  let left = n;
  const readable = new Readable({
    read() {
      if (left === 0) return this.push(null);
      const b = piece.subarray(0, Math.min(left, piece.length));
      piece.writeUInt32BE(left >>> 0, 0);
      left -= b.length;
      const copy = Buffer.from(b);
      hash.update(copy);
      return this.push(copy);
    },
  });
  return { readable, hash };
};

const upload = async (name, size) => {
  const d = await fresh();
  const client = await d.connect();
  const { readable, hash } = stream(size);
  await client.uploadToBlob(name, readable, size);
  const note = await told(`${d.device}/${name}`);
  equal([note.deviceId, note.blobSizeInBytes], [d.device, size]);
  check(note.blobUri.endsWith(`/uploads/${d.device}/${name}`), note.blobUri);
  // The device asks for the same name again, and may read it.
  const info = await client.getBlobSharedAccessSignature(name);
  const read = crypto.createHash('sha256');
  for await (const b of (await blobOf(info).download()).readableStreamBody) read.update(b);
  equal(read.digest('hex'), hash.digest('hex'), 'the content');
  await client.notifyBlobUploadStatus(info.correlationId, false, 0, 'only read');
  await close(client);
};

const notify = (d, info, more = {}) => d.connect().then(async (client) => {
  await client.notifyBlobUploadStatus(info.correlationId, more.isSuccess !== false, 200, 'done');
  await close(client);
});

const table = {
  'a small file is uploaded and told of': () => upload('dir/small.txt', 1234),

  'a file of one block': () => upload('one-block.bin', 4 << 20),

  'a file of 5 MB': () => upload('five.bin', 5000000),

  'the three steps one by one': async () => {
    const d = await fresh();
    const client = await d.connect();
    const info = await client.getBlobSharedAccessSignature('steps.txt');
    equal(Object.keys(info).sort(), ['blobName', 'containerName', 'correlationId', 'hostName', 'sasToken']);
    equal(info.blobName, `${d.device}/steps.txt`);
    await blobOf(info).upload('content', 7, { blobHTTPHeaders: { blobContentType: 'text/plain' } });
    await client.notifyBlobUploadStatus(info.correlationId, true, 200, 'done');
    equal((await told(info.blobName)).blobSizeInBytes, 7);
    equal(await body(info), 'content');
    await close(client);
  },

  'an upload that failed is not told of': async () => {
    const d = await fresh();
    const client = await d.connect();
    const [bad, good] = [await client.getBlobSharedAccessSignature('bad'), await client.getBlobSharedAccessSignature('good')];
    await client.notifyBlobUploadStatus(bad.correlationId, false, 500, 'no');
    await blobOf(good).upload('x', 1);
    await client.notifyBlobUploadStatus(good.correlationId, true, 200, 'yes');
    await told(good.blobName);
    await close(client);
    await refused(told(bad.blobName, 2000));
  },

  'success without a file is refused': async () => {
    const d = await fresh();
    const client = await d.connect();
    const info = await client.getBlobSharedAccessSignature('none');
    await refused(client.notifyBlobUploadStatus(info.correlationId, true, 200, 'yes'), 'Error', /Bad Request/);
    await refused(client.notifyBlobUploadStatus('nonsense', true, 200, 'yes'), 'Error', /Bad Request/);
    await close(client);
  },

  'a correlation id belongs to its device': async () => {
    const [one, two] = [await fresh(), await fresh()];
    const client = await one.connect();
    const info = await client.getBlobSharedAccessSignature('mine');
    await blobOf(info).upload('x', 1);
    await refused(notify(two, info), 'Error', /Bad Request/);
    await notify(one, info);
    await close(client);
  },

  'the signature opens that one file and nothing else': async () => {
    const d = await fresh();
    const client = await d.connect();
    const info = await client.getBlobSharedAccessSignature('mine.txt');
    const forbidden = async (url, call) => {
      const err = await refused(call(blobOf(info, url)));
      equal(err.statusCode, 403, `${url}: ${err.message}`);
    };
    const put = (b) => b.upload('x', 1);
    await forbidden(at(info).replace('mine.txt', 'other.txt'), put);
    await forbidden(at(info).replace('mine.txt', 'mine.txt/more'), put);
    await forbidden(at(info).replace('/uploads/', '/exports/'), put);
    await forbidden(at(info).replace('sp=rw', 'sp=rwd'), put);
    await forbidden(at(info).replace(/se=20../, 'se=2099'), put);
    await forbidden(at(info).replace(/&sig=.*/, ''), put);
    await forbidden(at(info).replace(/\?.*/, ''), put);
    await blobOf(info).upload('x', 1);
    await forbidden(at(info), (b) => b.delete());
    equal(await body(info), 'x');
    await close(client);
  },

  'the eleventh upload is refused': async () => {
    const d = await fresh();
    const client = await d.connect();
    const open = [];
    for (let i = 0; i < 10; i++) open.push(await client.getBlobSharedAccessSignature(`f${i}`));
    const err = await refused(client.getBlobSharedAccessSignature('f10'));
    check(/DeviceMaximumActiveFileUploadLimitExceeded/.test(err.responseBody), 'the code', err.responseBody);
    await client.notifyBlobUploadStatus(open[0].correlationId, false, 500, 'given up');
    await client.getBlobSharedAccessSignature('f10');
    await close(client);
  },

  'names that need care': async () => {
    const d = await fresh();
    const client = await d.connect();
    // Not beyond ASCII: this SDK then gives a wrong length of its request.
    for (const name of ['a b/c.txt', '50% & more+.txt', 'a#b?c=d', "it's (1).txt", 'back\\slash']) {
      await client.uploadToBlob(name, Readable.from([Buffer.from(name)]), Buffer.byteLength(name));
      equal((await told(`${d.device}/${name}`)).blobSizeInBytes, Buffer.byteLength(name), name);
    }
    await refused(client.getBlobSharedAccessSignature('../other'), 'Error', /Bad Request/);
    await refused(client.getBlobSharedAccessSignature('x'.repeat(1025)), 'Error', /Bad Request/);
    await close(client);
  },

  'what a notification tells': async () => {
    const d = await fresh();
    const client = await d.connect();
    await client.uploadToBlob('note', Readable.from([Buffer.from('x')]), 1);
    await close(client);
    const note = await told(`${d.device}/note`);
    check(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$/.test(note.lastUpdatedTime), note.lastUpdatedTime);
    check(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/.test(note.enqueuedTimeUtc), note.enqueuedTimeUtc);
  },
};

const large = {
  'a file of 300 MB is streamed': () => upload('large.bin', 300e6),
};

run(() => rows(input.large ? large : table));
