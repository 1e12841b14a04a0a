// Loaded before a script where port 443 may not be bound: takes connections to
// host:443 to another port of the same host. The SDKs stay as they are; only
// the way of their sockets changes. REDIRECT is "host:443=port".
'use strict';

const net = require('net');

const [from, port] = process.env.REDIRECT.split('=');
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function redirected(...args) {
  const options = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (options && typeof options === 'object' && `${options.host}:${options.port}` === from) {
    options.port = Number(port);
  }
  return connect.apply(this, args);
};
