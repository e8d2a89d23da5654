package jobs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFolder: rows name files of the job's folder, and nothing else: what is read goes to a provider.
func TestFolder(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	dir := filepath.Join(outside, "job")
	for path, text := range map[string]string{"secret.png": "S", "job/img/a.png": "A"} {
		path = filepath.Join(outside, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(outside, "secret.png"), filepath.Join(dir, "link.png")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	files := folder{root}
	if data, err := files.ReadFile("img/a.png"); err != nil || string(data) != "A" {
		t.Errorf("got %q %v", data, err)
	}
	for _, path := range []string{
		"../secret.png", "img/../../secret.png", filepath.Join(outside, "secret.png"), "link.png", "fifo", "img", "nope.png", "",
		strings.Repeat("QUJD", 500_000),
	} {
		data, err := files.ReadFile(path)
		if err == nil || data != nil || len(err.Error()) > 1000 {
			t.Errorf("%.40s: got %d bytes, %.1000v", path, len(data), err)
		}
		if _, err := files.Stat(path); err == nil {
			t.Errorf("%.40s: it has a size", path)
		}
	}
}
