// Package wire owns what every model provider shares: the tuned HTTP client, one POST that is never sent
// twice, the bounded read of its answer, and the class of every failure, decided here, where the wire was
// seen.
//
// It knows no provider's request or answer format, it never retries (the engine does, where the attempt is
// counted and admitted), and no text of a request or an answer leaves through its errors: only a provider's
// own structured message does, shortened and with the API key removed.
package wire
