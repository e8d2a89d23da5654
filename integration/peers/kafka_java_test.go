//go:build integration

package peers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNothingIsLeftBehind closes what a dead test binary's kernel would close.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	p, err := startProcess(t.Context(), "sleeper", filepath.Join(t.TempDir(), "log"), "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	if p.over() {
		t.Fatal("it does not wait")
	}
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

func TestProcess(t *testing.T) {
	t.Parallel()
	start := func(command string) *process {
		t.Helper()
		p, err := startProcess(t.Context(), "talker", filepath.Join(t.TempDir(), "log"), "sh", "-c", command)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	notYet := errors.New("not yet")
	never := func(context.Context) error { return notYet }

	dies := start("echo no room >&2; exit 7")
	if err := dies.await(t.Context(), never); err == nil || !strings.Contains(err.Error(), "talker has ended: exit status 7\nno room") {
		t.Errorf("a peer that dies: %v", err)
	}
	if err := dies.stop(); err != nil {
		t.Errorf("stop a peer that has ended: %v", err)
	}

	slow := start("exec sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := slow.await(ctx, never); !errors.Is(err, context.Canceled) || !errors.Is(err, notYet) {
		t.Errorf("a peer that is not waited for any longer: %v", err)
	}
	if err := slow.kill(); err != nil {
		t.Error(err)
	}

	badly := start("sleep 600 & trap 'kill $!; exit 3' TERM; touch ready; wait")
	marker := filepath.Join(filepath.Dir(badly.log), "ready")
	if err := badly.await(t.Context(), func(context.Context) error { _, err := os.Stat(marker); return err }); err != nil {
		t.Fatal(err)
	}
	if err := badly.stop(); err == nil || !strings.Contains(err.Error(), "stop talker: exit status 3") {
		t.Errorf("a peer that stops badly: %v", err)
	}
}
