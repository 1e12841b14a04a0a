// A device or module client of the public SDK, made as an application makes it.
'use strict';

const fs = require('fs');
const { Client, ModuleClient } = require('azure-iot-device');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');

exports.open = async (input) => {
  const transport = input.transport === 'mqtt-ws' ? MqttWs : Mqtt;
  const kind = input.connectionString.includes(';ModuleId=') ? ModuleClient : Client;
  const client = kind.fromConnectionString(input.connectionString, transport);
  const options = { ca: fs.readFileSync(input.ca, 'utf8') };
  if (input.cert) {
    options.cert = fs.readFileSync(input.cert, 'utf8');
    options.key = fs.readFileSync(input.key, 'utf8');
  }
  if (input.modelId) options.modelId = input.modelId;
  await client.setOptions(options);
  await client.open();
  return client;
};
