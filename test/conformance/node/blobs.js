// Rows: the public client of blobs against the surface that takes the files of
// devices. input: container, readOnly, createOnly, expired and other are
// addresses with signatures; name and address resolve the host in them.
'use strict';

const crypto = require('crypto');
const dns = require('dns');
const { input, run } = require('./input');
const { check, equal, refused, rows } = require('./rows');

// The client takes addresses for those of an emulator, which puts an account
// into the path; so it is given a name, and told here what that stands for.
const { lookup } = dns;
dns.lookup = (name, options, done) => lookup(name === input.name ? input.address : name, options, done);

const { AnonymousCredential, BlockBlobClient, ContainerClient, newPipeline } = require('@azure/storage-blob');

const pipeline = newPipeline(new AnonymousCredential(), { retryOptions: { maxTries: 1 } });
const open = (url) => new ContainerClient(url, pipeline);
const box = open(input.container);
const { readOnly, createOnly, expired, other } = input;

// is checks status and code of what was refused.
const is = async (promise, status, code) => {
  const err = await refused(promise);
  equal([err.statusCode, err.code || (err.details && err.details.errorCode)], [status, code], err.message);
  return err;
};

const names = async (iterator) => {
  const list = [];
  for await (const b of iterator) list.push(b.kind === 'prefix' ? `+${b.name}` : b.name);
  return list;
};

const text = async (blob, ...range) => (await blob.downloadToBuffer(...range)).toString();

const id = (i) => Buffer.from(`block-${String(i).padStart(6, '0')}`).toString('base64');

run(() => rows({
  'a blob is put, read, described and deleted': async () => {
    const b = box.getBlockBlobClient('life/one.txt');
    const put = await b.upload('content', 7, { blobHTTPHeaders: { blobContentType: 'text/plain', blobCacheControl: 'no-cache', blobContentLanguage: 'de', blobContentDisposition: 'inline' }, metadata: { room: 'hall', n: '1' } });
    check(put.etag && put.lastModified && put.requestId, 'headers', put);
    equal(Buffer.from(put.contentMD5).toString('hex'), crypto.createHash('md5').update('content').digest('hex'));
    const p = await b.getProperties();
    equal([p.contentLength, p.contentType, p.cacheControl, p.contentLanguage, p.contentDisposition, p.blobType, p.metadata, p.etag],
      [7, 'text/plain', 'no-cache', 'de', 'inline', 'BlockBlob', { room: 'hall', n: '1' }, put.etag]);
    equal(Buffer.from(p.contentMD5), Buffer.from(put.contentMD5));
    equal(await text(b), 'content');
    equal(await b.exists(), true);
    await b.delete();
    equal(await b.exists(), false);
    await is(b.getProperties(), 404, 'BlobNotFound');
    await is(b.download(), 404, 'BlobNotFound');
    await is(b.delete(), 404, 'BlobNotFound');
    equal((await b.deleteIfExists()).succeeded, false);
  },

  'an empty blob': async () => {
    const b = box.getBlockBlobClient('empty');
    await b.upload('', 0);
    equal((await b.getProperties()).contentLength, 0);
    equal((await (await b.download()).readableStreamBody.toArray()).length, 0);
  },

  'blocks are staged and committed': async () => {
    const b = box.getBlockBlobClient('blocks');
    for (let i = 0; i < 5; i++) await b.stageBlock(id(i), `part ${i} `, 7);
    equal(await b.exists(), false);
    let list = await b.getBlockList('all');
    equal([list.committedBlocks.length, list.uncommittedBlocks.map((x) => [x.name, x.size])], [0, Array.from({ length: 5 }, (_, i) => [id(i), 7])]);
    await b.commitBlockList([id(4), id(0), id(4)], { blobHTTPHeaders: { blobContentType: 'text/x' }, metadata: { a: 'b' } });
    equal(await text(b), 'part 4 part 0 part 4 ');
    list = await b.getBlockList('committed');
    equal(list.committedBlocks.map((x) => x.name), [id(4), id(0), id(4)]);
    equal(list.uncommittedBlocks || [], []);
    const p = await b.getProperties();
    equal([p.contentType, p.metadata, p.contentLength], ['text/x', { a: 'b' }, 21]);
    await is(b.commitBlockList([id(9)]), 400, 'InvalidBlockList');
    await b.stageBlock(id(7), 'seven', 5);
    await b.commitBlockList([id(0), id(7)]);
    equal(await text(b), 'part 0 seven');
    await is(b.stageBlock('no base64!', 'x', 1), 400, 'InvalidQueryParameterValue');
    await b.stageBlock(Buffer.from('ab').toString('base64'), 'x', 1);
    await is(b.stageBlock(Buffer.from('abc').toString('base64'), 'x', 1), 400, 'InvalidBlobOrBlock');
  },

  'streams and buffers of many blocks': async () => {
    const data = crypto.randomBytes(9 << 20);
    const b = box.getBlockBlobClient('many/stream');
    const { Readable } = require('stream');
    await b.uploadStream(Readable.from(Array.from({ length: 9 }, (_, i) => data.subarray(i << 20, (i + 1) << 20))), 1 << 20, 5);
    check(data.equals(await b.downloadToBuffer(0, undefined, { blockSize: 1 << 20, concurrency: 4 })), 'the stream came back as something else');
    const c = box.getBlockBlobClient('many/buffer');
    await c.uploadData(data, { blockSize: 2 << 20, maxSingleShotSize: 1 << 20, concurrency: 4 });
    check(data.equals(await c.downloadToBuffer()), 'the buffer came back as something else');
    equal((await c.getBlockList('committed')).committedBlocks.length, 5);
  },

  'ranges': async () => {
    const b = box.getBlockBlobClient('ranges');
    await b.upload('0123456789', 10);
    equal(await text(b, 3, 4), '3456');
    equal(await text(b, 8), '89');
    const part = await b.download(2, 3);
    equal([part._response.status, part.contentRange, part.contentLength], [206, 'bytes 2-4/10', 3]);
    await is(b.download(10, 1), 416, 'InvalidRange');
    await is(b.download(99), 416, 'InvalidRange');
  },

  'lists, flat and by hierarchy, in pages': async () => {
    const all = ['list/B', 'list/a', 'list/a b&<c>', 'list/a/1', 'list/a/2', 'list/a/b/3', 'list/ü'];
    for (const n of all) await box.getBlockBlobClient(n).upload(n, Buffer.byteLength(n), { metadata: { k: 'v' } });
    const prefix = 'list/';
    equal(await names(box.listBlobsFlat({ prefix })), all);
    equal(await names(box.listBlobsByHierarchy('/', { prefix })), ['+list/a/', 'list/B', 'list/a', 'list/a b&<c>', 'list/ü']);
    const pages = [];
    for await (const page of box.listBlobsFlat({ prefix, includeMetadata: true }).byPage({ maxPageSize: 3 })) pages.push(page.segment.blobItems);
    equal(pages.map((p) => p.length), [3, 3, 1]);
    const [first] = pages[0];
    equal([first.properties.contentLength, first.properties.blobType, first.metadata], [6, 'BlockBlob', { k: 'v' }]);
    equal(first.properties.etag, (await box.getBlockBlobClient('list/B').getProperties()).etag.replace(/"/g, ''));
    equal(await names(box.listBlobsFlat({ prefix: 'nothing' })), []);
  },

  'metadata and headers are replaced': async () => {
    const b = box.getBlockBlobClient('meta');
    await b.upload('x', 1, { metadata: { old: '1' }, blobHTTPHeaders: { blobContentType: 'text/plain' } });
    const set = await b.setMetadata({ new_one: 'two words' });
    let p = await b.getProperties();
    equal([p.metadata, p.contentType, p.etag], [{ new_one: 'two words' }, 'text/plain', set.etag]);
    await b.setHTTPHeaders({ blobContentType: 'image/png', blobContentEncoding: 'gzip' });
    p = await b.getProperties();
    equal([p.contentType, p.contentEncoding, p.metadata], ['image/png', 'gzip', { new_one: 'two words' }]);
    await is(b.setMetadata({ 'not-good': '1' }), 400, 'InvalidMetadata');
    await is(b.setMetadata({ k: 'x'.repeat(9000) }), 400, 'MetadataTooLarge');
    await is(box.getBlockBlobClient('meta-none').setMetadata({ k: '1' }), 404, 'BlobNotFound');
  },

  'conditions': async () => {
    const b = box.getBlockBlobClient('conditions');
    const first = await b.upload('1', 1, { conditions: { ifNoneMatch: '*' } });
    await is(b.upload('2', 1, { conditions: { ifNoneMatch: '*' } }), 409, 'BlobAlreadyExists');
    await is(b.upload('2', 1, { conditions: { ifMatch: '"0x1"' } }), 412, 'ConditionNotMet');
    await b.upload('2', 1, { conditions: { ifMatch: first.etag } });
    await is(b.delete({ conditions: { ifMatch: first.etag } }), 412, 'ConditionNotMet');
    await is(b.getProperties({ conditions: { ifMatch: first.etag } }), 412, 'ConditionNotMet');
    const { etag, lastModified } = await b.getProperties();
    equal((await refused(b.download(0, undefined, { conditions: { ifNoneMatch: etag } }))).statusCode, 304);
    equal((await refused(b.getProperties({ conditions: { ifModifiedSince: lastModified } }))).statusCode, 304);
    await is(b.upload('3', 1, { conditions: { ifUnmodifiedSince: new Date(lastModified.getTime() - 60000) } }), 412, 'ConditionNotMet');
    await b.upload('3', 1, { conditions: { ifUnmodifiedSince: new Date(lastModified.getTime() + 60000) } });
    equal(await text(b), '3');
  },

  'what is damaged on its way is refused': async () => {
    const b = box.getBlockBlobClient('checksum');
    const wrong = crypto.createHash('md5').update('other').digest();
    const right = crypto.createHash('md5').update('content').digest();
    await is(b.stageBlock(id(1), 'content', 7, { transactionalContentMD5: wrong }), 400, 'Md5Mismatch');
    await b.stageBlock(id(1), 'content', 7, { transactionalContentMD5: right });
    await is(b.upload('content', 7, { blobHTTPHeaders: { blobContentMD5: wrong } }), 400, 'Md5Mismatch');
    equal(await b.exists(), false);
    await b.commitBlockList([id(1)], { blobHTTPHeaders: { blobContentMD5: right } });
    equal(Buffer.from((await b.getProperties()).contentMD5), right);
  },

  'signatures': async () => {
    const b = box.getBlockBlobClient('signed');
    await b.upload('x', 1);
    const reader = open(readOnly).getBlockBlobClient('signed');
    equal(await text(reader), 'x');
    await is(reader.upload('y', 1), 403, 'AuthorizationPermissionMismatch');
    await is(reader.delete(), 403, 'AuthorizationPermissionMismatch');
    await is(names(open(readOnly).listBlobsFlat()), 403, 'AuthorizationPermissionMismatch');
    const maker = open(createOnly);
    await is(maker.getBlockBlobClient('signed').upload('y', 1), 403, 'UnauthorizedBlobOverwrite');
    await maker.getBlockBlobClient('created').upload('y', 1);
    const late = await is(open(expired).getBlockBlobClient('signed').download(), 403, 'AuthenticationFailed');
    check(/Expiry/.test(late.details.AuthenticationErrorDetail), 'the reason', late.details);
    await is(open(other.replace('/boxes?', '/box?')).getBlockBlobClient('signed').download(), 403, 'AuthenticationFailed');
    await is(new BlockBlobClient(input.container.replace(/\?.*/, '/signed'), pipeline).download(), 403, 'AuthenticationFailed');
    await is(new BlockBlobClient(input.container.replace(/sig=./, 'sig=x').replace('?', '/signed?'), pipeline).download(), 403, 'AuthenticationFailed');
  },

  'what is not offered is said': async () => {
    const b = box.getBlockBlobClient('other');
    await b.upload('x', 1);
    await is(b.createSnapshot(), 400, 'UnsupportedQueryParameter');
    await is(box.getAppendBlobClient('append').create(), 400, 'InvalidHeaderValue');
    await is(b.getBlobLeaseClient().acquireLease(15), 400, 'UnsupportedQueryParameter');
    await is(b.setAccessTier('Cool'), 400, 'UnsupportedQueryParameter');
    await is(box.create(), 403, 'AuthorizationResourceTypeMismatch');
    await is(box.delete(), 403, 'AuthorizationResourceTypeMismatch');
  },

  'names that are hard to keep': async () => {
    for (const n of ['hard/..x', 'hard//x', 'hard/', 'Hard/x', 'hard/%41', 'hard/a b+c', 'hard/#?&=', "hard/'", 'hard/日本語', `hard/${'x'.repeat(900)}`, '$iothub/websocket', 'api/info']) {
      const b = box.getBlockBlobClient(n);
      await b.upload(n, Buffer.byteLength(n));
      equal(await text(b), n, n);
    }
    equal((await names(box.listBlobsFlat({ prefix: 'hard/' }))).length, 9);
    await is(box.getBlockBlobClient('x'.repeat(1025)).upload('x', 1), 400, 'InvalidUri');
  },
}));
