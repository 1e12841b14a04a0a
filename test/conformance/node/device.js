// A device or module client of the public SDK, made as an application makes it.
'use strict';

const fs = require('fs');
const { Client, ModuleClient } = require('azure-iot-device');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const { Http } = require('azure-iot-device-http');

const transports = { 'mqtt-ws': MqttWs, http: Http };

exports.open = async (input) => {
  const transport = transports[input.transport] || Mqtt;
  const kind = input.connectionString.includes(';ModuleId=') ? ModuleClient : Client;
  const client = kind.fromConnectionString(input.connectionString, transport);
  const options = { ca: fs.readFileSync(input.ca, 'utf8') };
  if (input.cert) {
    options.cert = fs.readFileSync(input.cert, 'utf8');
    options.key = fs.readFileSync(input.key, 'utf8');
  }
  // Over HTTPS the SDK polls, as often as it is told (its default is minutes).
  if (transport === Http) options.http = { receivePolicy: { interval: 1, drain: true } };
  if (input.modelId) options.modelId = input.modelId;
  await client.setOptions(options);
  await client.open();
  return client;
};
