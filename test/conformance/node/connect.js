// Connects and prints how long that took; fails with the error of the SDK.
// input: connectionString, transport, ca, cert and key for X.509.
'use strict';

const { input, print, run } = require('./input');
const { open } = require('./device');

run(async () => {
  const start = Date.now();
  const client = await open(input);
  print({ connected: true, milliseconds: Date.now() - start });
  await client.close();
});
