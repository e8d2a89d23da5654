package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// screen is stderr. While a frame is shown on it, whatever is written appears above the frame; it may be used by
// any goroutine.
type screen struct {
	out io.Writer

	mu    sync.Mutex
	frame []string // the lines that stand at the bottom
}

// width is the number of columns of the terminal, 0 where it is none.
func (s *screen) width() int { return terminalWidth(s.out) }

// Write writes whole lines, above the frame where there is one.
func (s *screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.frame) == 0 {
		return s.out.Write(data)
	}
	if _, err := io.WriteString(s.out, s.erase()+string(data)+lines(s.frame)); err != nil {
		return 0, err
	}
	return len(data), nil
}

// show puts a frame in the place of the one before. Its lines must be narrower than the terminal.
func (s *screen) show(frame []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.out, s.erase()+lines(frame)) // a terminal that is gone shows nothing
	s.frame = frame
}

// leave lets the frame stand as it is and goes on below it.
func (s *screen) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frame = nil
}

// erase moves to the start of the frame and clears what follows. The cursor waits below the frame, on a line of
// its own, because the terminal echoes Ctrl-C as two letters there; hence the return before moving up.
func (s *screen) erase() string {
	if len(s.frame) == 0 {
		return ""
	}
	return fmt.Sprintf("\r\x1b[%dA\x1b[J", len(s.frame))
}

func lines(frame []string) string { return strings.Join(frame, "\n") + "\n" }
