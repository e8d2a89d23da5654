package delta

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
)

const (
	logFolder      = "_delta_log/"
	checkpointHint = logFolder + "_last_checkpoint"
)

func commitName(version int64) string { return fmt.Sprintf("%s%020d.json", logFolder, version) }

func checkpointName(version int64) string {
	return fmt.Sprintf("%s%020d.checkpoint.parquet", logFolder, version)
}

func checkpointPartName(version int64, part, parts int) string {
	return fmt.Sprintf("%s%020d.checkpoint.%010d.%010d.parquet", logFolder, version, part, parts)
}

// logKind is what a name in the log folder stands for.
type logKind uint8

const (
	otherFile logKind = iota
	commitFile
	classicCheckpoint
	multipartCheckpoint
	v2Checkpoint
)

// logFile is a parsed name in the log folder.
type logFile struct {
	kind        logKind
	version     int64
	part, parts int
}

// parseLogName recognises the files that replay needs. Everything else in the folder (checksums, log compaction,
// staged commits, sidecars, other tools' droppings) is otherFile and ignored.
func parseLogName(name string) logFile {
	base, ok := strings.CutPrefix(name, logFolder)
	if !ok || strings.Contains(base, "/") {
		return logFile{}
	}
	fields := strings.Split(base, ".")
	version, ok := digits(fields[0], 20)
	if !ok {
		return logFile{}
	}
	file := logFile{version: version}
	switch {
	case len(fields) == 2 && fields[1] == "json":
		file.kind = commitFile
	case len(fields) == 3 && fields[1] == "checkpoint" && fields[2] == "parquet":
		file.kind = classicCheckpoint
	case len(fields) == 5 && fields[1] == "checkpoint" && fields[4] == "parquet":
		part, okPart := digits(fields[2], 10)
		parts, okParts := digits(fields[3], 10)
		if !okPart || !okParts || part < 1 || part > parts || parts > maxCheckpointParts {
			return logFile{}
		}
		file.kind, file.part, file.parts = multipartCheckpoint, int(part), int(parts)
	case len(fields) == 4 && fields[1] == "checkpoint" && (fields[3] == "parquet" || fields[3] == "json"):
		file.kind = v2Checkpoint
	default:
		return logFile{}
	}
	return file
}

func digits(text string, count int) (int64, bool) {
	if len(text) != count || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	number, err := strconv.ParseInt(text, 10, 64)
	return number, err == nil
}

// resolvePath turns the path of an add or remove into the name of an object of the table's store. Writers differ
// in what they escape, and some write absolute URIs, so only the name is fit as an identity.
//
// location is the table's own URI or absolute folder, empty where it is not known.
func resolvePath(path, location string) (string, error) {
	name, err := url.PathUnescape(path)
	if err != nil {
		return "", fmt.Errorf("%q is not a valid URI: %w", path, err)
	}
	if absolute := strings.HasPrefix(path, "/") || hasScheme(path); absolute {
		if location == "" {
			return "", fmt.Errorf("%q is an absolute path, and the location of the table is not known here", path)
		}
		if hasScheme(location) { // a URI, and not a folder
			if location, err = url.PathUnescape(location); err != nil {
				return "", fmt.Errorf("the location %q of the table is not a valid URI: %w", location, err)
			}
		}
		inside, ok := strings.CutPrefix(canonicalURI(name), strings.TrimSuffix(canonicalURI(location), "/")+"/")
		if !ok {
			return "", fmt.Errorf("%q lies outside of the table (a shallow clone?); copy its files into the table first", path)
		}
		name = inside
	}
	if !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%q does not name a file inside the table", path)
	}
	return name, nil
}

func hasScheme(path string) bool {
	scheme, _, found := strings.Cut(path, ":")
	if !found || scheme == "" {
		return false
	}
	for i, char := range []byte(scheme) {
		letter := 'a' <= char|0x20 && char|0x20 <= 'z'
		if !letter && (i == 0 || (char < '0' || char > '9') && !strings.ContainsRune("+-.", rune(char))) {
			return false
		}
	}
	return true
}

// canonicalURI makes the spellings of one location alike: file:/x, file:///x and /x; s3a: and s3:.
func canonicalURI(uri string) string {
	uri = strings.TrimPrefix(uri, "file:")
	for strings.HasPrefix(uri, "//") {
		uri = uri[1:]
	}
	for _, alias := range []string{"s3a://", "s3n://"} {
		if rest, ok := strings.CutPrefix(uri, alias); ok {
			return "s3://" + rest
		}
	}
	return uri
}

// escapePath turns an object's name into the URI that an add carries.
func escapePath(name string) string {
	segments := strings.Split(name, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return strings.Join(segments, "/")
}

// maxPartitionSegment keeps a folder's name within what every file system takes. The folder is decoration: the
// value stands in the add.
const maxPartitionSegment = 200

// partitionFolder returns the folder of a partition by Hive's convention, "date=2024-01-01/region=eu/".
func partitionFolder(columns []string, values []*string) string {
	var out strings.Builder
	for i, column := range columns {
		segment := hiveEscape(column) + "="
		if values[i] == nil {
			segment += "__HIVE_DEFAULT_PARTITION__"
		} else {
			segment += hiveEscape(*values[i])
		}
		out.WriteString(segment[:min(len(segment), maxPartitionSegment)])
		out.WriteByte('/')
	}
	return out.String()
}

// hiveEscape escapes whatever is not plain, so that a cut anywhere stays valid.
func hiveEscape(text string) string {
	var out strings.Builder
	for _, char := range []byte(text) {
		plain := 'a' <= char && char <= 'z' || 'A' <= char && char <= 'Z' || '0' <= char && char <= '9' || strings.IndexByte("-_.+@ ", char) >= 0
		if plain {
			out.WriteByte(char)
			continue
		}
		fmt.Fprintf(&out, "%%%02X", char)
	}
	return out.String()
}

// isNotExist reports a missing object.
func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
