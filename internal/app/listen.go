package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"syscall"
)

// listenFunc opens a listening socket.
type listenFunc func(ctx context.Context, network, addr string) (net.Listener, error)

func listenTCP(ctx context.Context, network, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, network, addr)
}

// The well-known HTTPS port, which the public SDKs have built in, and the one
// that needs no permission.
const (
	httpsPort    = "443"
	httpsAltPort = "8443"
)

// listenHTTPS opens the HTTPS address. Where port 443 is not permitted it
// takes 8443 and gives a warning that says what will not work and how to allow it.
func listenHTTPS(ctx context.Context, addr string, listen listenFunc) (l net.Listener, warning string, err error) {
	const setting = "https-addr"
	l, err = listen(ctx, "tcp", addr)
	if err == nil {
		return l, "", nil
	}
	host, port, serr := net.SplitHostPort(addr)
	if serr != nil || port != httpsPort || !errors.Is(err, fs.ErrPermission) {
		return nil, "", bindError(setting, addr, err)
	}
	alt := net.JoinHostPort(host, httpsAltPort)
	l, err = listen(ctx, "tcp", alt)
	if err != nil {
		return nil, "", fmt.Errorf("port 443 is not permitted to this user, and instead of it: %w", bindError(setting, alt, err))
	}
	return l, "HTTPS is on port 8443, because port 443 is not permitted to this user. " +
		"What will not work: SDKs that have 443 built in (service clients, MQTT over WebSocket, file upload) unless a proxy forwards 443 to 8443; " +
		"MQTT on its own port is not affected. To allow it: run as root, or once \"setcap cap_net_bind_service=+ep\" on the program file, " +
		"or AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit. To choose another port and not see this: --https-addr.", nil
}

// bindError says why an address cannot be listened on, who has it if that can
// be found out, and which setting changes it.
func bindError(setting, addr string, err error) error {
	flag := "--" + setting
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who := "another program"
		_, port, _ := net.SplitHostPort(addr)
		if n, perr := strconv.Atoi(port); perr == nil {
			if holder := PortHolder(n); holder != "" {
				who = holder
			}
		}
		return fmt.Errorf("%s: %s is in use by %s: stop it, or choose another address with %s (port 0 takes a free one)", setting, addr, who, flag)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %s is not permitted to this user: choose a port above 1023 with %s, or allow it with \"setcap cap_net_bind_service=+ep\" on the program file", setting, addr, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: this machine has no address %s: choose one that it has with %s, or give only :port for all", setting, addr, flag)
	}
	return fmt.Errorf("%s: %w: choose another address with %s", setting, err, flag)
}

// portOf gives the port of a listening address.
func portOf(a net.Addr) string {
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return ""
	}
	return port
}

// dialAddr gives an address under which a program on this machine reaches a
// listening one: the loopback address when it listens on all.
func dialAddr(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
