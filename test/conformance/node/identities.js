// Creates identities with the service SDK, as input.create lists them, and
// prints each as the hub answered it. input: connectionString, create.
'use strict';

const { Registry } = require('azure-iothub');
const { input, print, run } = require('./input');

run(async () => {
  const registry = Registry.fromConnectionString(input.connectionString);
  for (const identity of input.create) {
    const call = identity.moduleId ? registry.addModule(identity) : registry.create(identity);
    print((await call).responseBody);
  }
});
