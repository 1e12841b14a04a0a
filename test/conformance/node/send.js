// Sends rows of a CSV file as telemetry and prints the number of each row that
// the hub acknowledged. input: connectionString, transport, ca, csv, rows,
// window (messages under way at a time), cert and key for X.509.
'use strict';

const fs = require('fs');
const { Message } = require('azure-iot-device');
const { input, print, run } = require('./input');
const { open } = require('./device');

const message = (header, line, row) => {
  const cells = line.split(',');
  const body = {};
  header.forEach((name, i) => {
    body[name] = i === 0 ? cells[i] : Number(cells[i]);
  });
  const m = new Message(JSON.stringify(body));
  m.messageId = `row-${row}`;
  m.correlationId = 'replay/1';
  m.contentType = 'application/json';
  m.contentEncoding = 'utf-8';
  m.properties.add('row', String(row));
  m.properties.add('unit', '°F');
  m.properties.add('a b&c=d/e', '50% + 1');
  m.properties.add('empty', '');
  return m;
};

run(async () => {
  const lines = fs.readFileSync(input.csv, 'utf8').trim().split('\n');
  const header = lines[0].split(',');
  const client = await open(input);
  let next = 0;
  const worker = async () => {
    for (;;) {
      const row = next++;
      if (row >= input.rows) return;
      await client.sendEvent(message(header, lines[row + 1], row));
      print({ acknowledged: row });
    }
  };
  await Promise.all(Array.from({ length: input.window }, worker));
  await client.close();
});
