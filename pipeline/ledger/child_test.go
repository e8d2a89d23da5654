package ledger_test

import (
	"context"
	"strings"
	"time"
)

func contextOf() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

// splitLines returns the whole lines of a text: the last one may have been cut off.
func splitLines(text string) []string {
	lines := strings.Split(text, "\n")
	return lines[:len(lines)-1]
}
