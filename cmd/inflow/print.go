package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// printer is stdout. It remembers what went wrong with it, so that a command whose result was lost does not end
// as if it had been read.
type printer struct {
	out io.Writer
	err error
}

// Write passes on until the first failure. A reader that went away has had enough, which is none.
func (p *printer) Write(data []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.out.Write(data)
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		p.err = err
	}
	return n, err
}

// terminalWidth is the number of columns of a terminal, 0 where w is none.
func terminalWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func (a *app) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stdout, format, args...) // the printer remembers
}

func (a *app) printJSON(value any) error { return encodeJSON(a.stdout, value, "  ") }

func encodeJSON(w io.Writer, value any, indent string) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", indent)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// printTable draws rows under headers: numbers to the right and whole, texts cut where a terminal is too narrow for
// them.
func (a *app) printTable(headers []string, rows [][]string) {
	const padding = 2
	writer := table.NewWriter()
	style := table.StyleLight
	style.Format.Header = text.FormatDefault
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	writer.SetStyle(style)
	widths := make([]int, len(headers))
	shrinkable := make([]bool, len(headers))
	configs := make([]table.ColumnConfig, len(headers))
	for i, name := range headers {
		widths[i] = text.LongestLineLen(name)
		numbers, others := 0, 0
		for _, row := range rows {
			widths[i] = max(widths[i], text.StringWidth(row[i]))
			switch {
			case isNumber(row[i]):
				numbers++
			case row[i] != "":
				others++
			}
		}
		configs[i] = table.ColumnConfig{Number: i + 1}
		shrinkable[i] = others > 0
		if numbers > 0 && others == 0 {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
	}
	if width := terminalWidth(a.stdout.out); width > 0 {
		widths = fit(widths, shrinkable, width-padding*len(headers))
	}
	writer.SetColumnConfigs(configs)
	header := make(table.Row, len(headers))
	for i, name := range headers {
		header[i] = name
	}
	writer.AppendHeader(header)
	for _, row := range rows {
		cells := make(table.Row, len(row))
		for i, cell := range row {
			cells[i] = snip(cell, widths[i])
		}
		writer.AppendRow(cells)
	}
	for line := range strings.Lines(writer.Render()) {
		a.printf("%s\n", strings.TrimRight(line, " \n"))
	}
}

// fit makes the widest of the shrinkable columns narrower until all columns take no more than total. Where that
// would cut too much, the table stays wider: a line that wraps can still be read.
func fit(widths []int, shrinkable []bool, total int) []int {
	const least = 10 // a date
	narrow := slices.Clone(widths)
	sum := 0
	for _, width := range narrow {
		sum += width
	}
	for ; sum > total; sum-- {
		widest := -1
		for i, width := range narrow {
			if shrinkable[i] && width > least && (widest < 0 || width > narrow[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		narrow[widest]--
	}
	return narrow
}

func isNumber(cell string) bool {
	_, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimPrefix(cell, "$"), ",", ""), 64)
	return err == nil
}

// shorten cuts a text for a table, on one line.
func shorten(long string, width int) string {
	return snip(strings.Join(strings.Fields(printable(long)), " "), width)
}

func snip(long string, width int) string {
	if text.StringWidth(long) <= width {
		return long
	}
	left := width - 1 // for the dots
	for i, letter := range long {
		if left -= text.RuneWidth(letter); left < 0 {
			return long[:i] + "…"
		}
	}
	return long
}

// printable leaves out what would move a terminal's cursor or change its state: texts of models and servers are
// shown, not obeyed.
func printable(raw string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, raw)
}

// suggestion is something to type next, and why.
type suggestion struct{ command, why string }

func (a *app) printNext(suggestions ...suggestion) {
	width := 0
	for _, each := range suggestions {
		width = max(width, len(each.command))
	}
	lead := "\nNext: "
	for _, each := range suggestions {
		a.printf("%s%s\n", lead, strings.TrimRight(fmt.Sprintf("%-*s  %s", width, each.command, each.why), " "))
		lead = "      "
	}
}

// command is a command line of this binary, to be pasted into a shell.
func (a *app) command(words ...string) string {
	line := []string{a.name}
	for _, word := range words {
		line = append(line, quote(word))
	}
	return strings.Join(line, " ")
}
