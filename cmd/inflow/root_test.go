package main

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
)

func TestCommandLinesThatCannotWorkEndWithTwoAndTheMend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for line, want := range map[string]string{
		"demmo":                          "inflow: inflow has no command \"demmo\"\n  did you mean: inflow demo\n",
		"xyzzy":                          "inflow: inflow has no command \"xyzzy\"\n  see: inflow --help\n",
		"table sho":                      "inflow: inflow table has no command \"sho\"\n  did you mean: inflow table show\n",
		"completion tcsh":                "inflow: inflow completion has no command \"tcsh\"\n  did you mean: inflow completion bash, zsh, fish\n",
		"--bogus":                        "inflow: unknown flag: --bogus\n  see: inflow --help\n",
		"run --bogus":                    "inflow: unknown flag: --bogus\n  see: inflow run --help\n",
		"-o xml version":                 "inflow: --output is text or json, not \"xml\"\n",
		"run":                            "inflow: inflow run takes 1 argument, not 0\n  usage: inflow run FILE [flags]\n",
		"check a b":                      "inflow: inflow check takes 1 argument, not 2\n  usage: inflow check FILE [flags]\n",
		"init a b":                       "inflow: inflow init takes at most 1 argument, not 2\n  usage: inflow init [DIR] [flags]\n",
		"demo a":                         "inflow: inflow demo takes 0 arguments, not 1\n  usage: inflow demo [flags]\n",
		"table head -n 0 DIR":            "inflow: --limit is at least 1, not 0\n",
		"table log -n -1 DIR":            "inflow: --limit is at least 1, not -1\n",
		"table show DIR/nowhere":         "inflow: DIR/nowhere: there is no such folder\n  PATH is the folder that a table lies in, not its name in a catalog\n",
		"table log DIR":                  "inflow: DIR: not a Delta table: there is no _delta_log in it\n",
		"table head DIR":                 "inflow: DIR: not a Delta table: there is no _delta_log in it\n",
		"usage DIR":                      "inflow: DIR: not a Delta table: there is no _delta_log in it\n",
		"-o json usage DIR":              "{\"error\":\"DIR: not a Delta table: there is no _delta_log in it\",\"exit_code\":2}\n",
		"-o json run":                    "{\"error\":\"inflow run takes 1 argument, not 0\\n  usage: inflow run FILE [flags]\",\"exit_code\":2}\n",
		"table head -n many DIR/nowhere": "inflow: invalid argument \"many\" for \"-n, --limit\" flag: strconv.ParseInt: parsing \"many\": invalid syntax\n  see: inflow table head --help\n",
	} {
		got := ends(t, exitUsage, strings.Fields(strings.ReplaceAll(line, "DIR", dir))...)
		if text := strings.ReplaceAll(got.stderr, dir, "DIR"); text != want {
			t.Errorf("inflow %s says %q, want %q", line, text, want)
		}
		if got.stdout != "" {
			t.Errorf("inflow %s prints %q", line, got.stdout)
		}
	}
}

func TestAnErrorIsShownAndNotObeyed(t *testing.T) {
	t.Parallel()
	out := ends(t, exitUsage, "run", t.TempDir()+"/\x1b[2Jjob.yaml")
	contains(t, out.stderr, "\uFFFD[2Jjob.yaml: no such file")
}

func TestHelpFitsInEightyColumns(t *testing.T) {
	t.Parallel()
	out := ends(t, exitDone)
	contains(t, out.stdout, "Start with: inflow demo", "  demo ", "  init ", "  check ", "  plan ", "  run ", "  table ", "  usage ")
	for line := range strings.Lines(out.stdout) {
		if len(line) > 81 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
	contains(t, ends(t, exitDone, "table").stdout, "  show ", "  log ", "  head ")
}

func TestCompletionOfEveryShell(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		contains(t, ends(t, exitDone, "completion", shell).stdout, "inflow")
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	contains(t, ends(t, exitDone, "version").stdout, "inflow ", "(", "go1.")
	got := decode[map[string]string](t, ends(t, exitDone, "version", "-o", "json").stdout)
	if got["version"] == "" || !strings.HasPrefix(got["go"], "go1.") {
		t.Errorf("got %v", got)
	}
}

// broken fails every write.
type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestLostOutputIsAFailureUnlessNobodyWantsIt(t *testing.T) {
	t.Parallel()
	none := func(string) (string, bool) { return "", false }
	for _, args := range [][]string{{"version"}, {"version", "-o", "json"}, {"--help"}} {
		var stderr strings.Builder
		if code := run(args, broken{errors.New("no space left")}, &stderr, none); code != exitFailed {
			t.Errorf("%v on a full disk ends with %d", args, code)
		}
		contains(t, stderr.String(), "no space left")
		if code := run(args, broken{syscall.EPIPE}, io.Discard, none); code != exitDone {
			t.Errorf("%v for a reader that went away ends with %d", args, code)
		}
	}
}

func TestCalledAs(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"inflow": "inflow", "bin/inflow": "bin/inflow", "/opt/my tools/inflow": "'/opt/my tools/inflow'", "/tmp/x/inflow.test": "inflow",
	} {
		if got := calledAs(path); got != want {
			t.Errorf("calledAs(%q) = %q, want %q", path, got, want)
		}
	}
}
