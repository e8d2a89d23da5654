package wire

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// countedConn counts what the transport hands to the network.
type countedConn struct {
	net.Conn

	sent atomic.Int64 // bytes written, and those being written
}

// Write counts before it writes: whoever looks meanwhile must take the bytes for sent.
func (c *countedConn) Write(data []byte) (int, error) {
	c.sent.Add(int64(len(data)))
	n, err := c.Conn.Write(data)
	c.sent.Add(int64(n - len(data)))
	return n, err //nolint:wrapcheck // the transport knows the network's errors
}

// delivery follows one request on its connection.
type delivery struct {
	conn  atomic.Pointer[countedConn]
	start atomic.Int64 // what the connection had sent before
	begun atomic.Bool
}

// begin is called when the transport has chosen a connection, perhaps again, where the first one turned out to be
// closed before a byte was written.
func (d *delivery) begin(conn net.Conn) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if counted, ok := conn.(*countedConn); ok {
		d.start.Store(counted.sent.Load())
		d.conn.Store(counted)
	}
	d.begun.Store(true)
}

// possiblySent reports whether all of the request may have gone out. It is asked when RoundTrip has failed, which
// has then closed the connection: what was not handed to the network by now never is. The headers come before the
// body and encryption only adds to it, so fewer bytes than the body has are not the whole request, and an
// incomplete one is not served.
func (d *delivery) possiblySent(body int) bool {
	conn := d.conn.Load()
	if conn == nil {
		return d.begun.Load()
	}
	return conn.sent.Load()-d.start.Load() >= int64(body)
}
