// What rows need of a hub: identities made with the service SDK, their clients
// made with the device SDK, and plain REST for what the SDKs do not call.
// input: service (connection string), host (with the port of the transport),
// transport, ca.
'use strict';

const { Registry } = require('azure-iothub');
const { SharedAccessSignature, ConnectionString } = require('azure-iot-common');
const { input } = require('./input');
const { open } = require('./device');

const registry = Registry.fromConnectionString(input.service);
exports.registry = registry;

const parts = ConnectionString.parse(input.service);

// rest calls the hub as a program without an SDK does.
exports.rest = async (method, path, { body, headers = {}, query = '', token } = {}) => {
  const sas = token || SharedAccessSignature.create(parts.HostName, parts.SharedAccessKeyName, parts.SharedAccessKey, Math.floor(Date.now() / 1000) + 3600).toString();
  const response = await fetch(`https://${parts.HostName}${path}?api-version=2021-04-12${query}`, {
    method,
    headers: { Authorization: sas, ...(body !== undefined && !Buffer.isBuffer(body) ? { 'Content-Type': 'application/json; charset=utf-8' } : {}), ...headers },
    body: body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
  });
  const text = await response.text();
  const json = /application\/json/.test(response.headers.get('content-type') || '') && text !== '' ? JSON.parse(text) : undefined;
  return { status: response.status, headers: response.headers, text, json };
};

// string makes the connection string of an identity that the registry answered.
const string = (identity, host = input.host) => `HostName=${host};DeviceId=${identity.deviceId}`
  + (identity.moduleId ? `;ModuleId=${identity.moduleId}` : '')
  + `;SharedAccessKey=${identity.authentication.symmetricKey.primaryKey}`;
exports.string = string;

let last = 0;
const opened = [];

// thing is a device or module with the means to be it and to administer it.
class Thing {
  constructor(identity) {
    this.identity = identity;
    this.device = identity.deviceId;
    this.module = identity.moduleId;
  }

  async connect(options = {}) {
    const client = await open({ ...input, connectionString: string(this.identity), ...options });
    opened.push(client);
    client.on('error', () => {});
    return client;
  }

  async add(moduleId) {
    return new Thing((await registry.addModule({ deviceId: this.device, moduleId })).responseBody);
  }

  async twin() {
    const call = this.module ? registry.getModuleTwin(this.device, this.module) : registry.getTwin(this.device);
    return (await call).responseBody;
  }

  async update(patch, etag = '*') {
    const call = this.module
      ? registry.updateModuleTwin(this.device, this.module, patch, etag)
      : registry.updateTwin(this.device, patch, etag);
    return (await call).responseBody;
  }

  async desire(desired, etag) {
    return this.update({ properties: { desired } }, etag);
  }

  get path() {
    return `/twins/${encodeURIComponent(this.device)}` + (this.module ? `/modules/${encodeURIComponent(this.module)}` : '');
  }
}

// fresh registers a device that no other row knows.
exports.fresh = async (more = {}) => {
  last += 1;
  return new Thing((await registry.create({ deviceId: `${input.transport}-${input.prefix}${last}`, ...more })).responseBody);
};

// close ends a client; a row that fails may leave some open.
exports.close = async (client) => {
  const at = opened.indexOf(client);
  if (at >= 0) opened.splice(at, 1);
  await client.close();
};
