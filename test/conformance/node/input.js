// The input of every script: one JSON object as the first argument. Output is
// one JSON object per line on standard output.
'use strict';

exports.input = JSON.parse(process.argv[2]);

exports.print = (value) => process.stdout.write(JSON.stringify(value) + '\n');

// run ends the process with what the script came to; an error is printed with
// the class that the SDK gave it, because applications branch on that.
exports.run = (main) => {
  main().then(
    () => process.exit(0),
    (err) => {
      exports.print({ error: err.name, message: err.message });
      process.exit(2);
    },
  );
};
