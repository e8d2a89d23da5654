package prompts

import (
	"bytes"
	"path"
	"strings"

	"github.com/inflowhq/inflow/schemas"
)

// isURL reports whether where media lie is for the provider to find: the rest are paths.
func isURL(text string) bool {
	scheme, _, ok := strings.Cut(text, ":")
	return ok && (strings.Contains(text, "://") && len(scheme) > 1 || scheme == "data")
}

// Describe fills in the MIME type and the name of media, as far as their first bytes, their path or their URL tell. A
// provider refuses what stays without.
func Describe(media *schemas.Media) {
	place := media.Path
	if rest, ok := strings.CutPrefix(media.URL, "data:"); ok {
		kind, _, _ := strings.Cut(rest, ",")
		kind, _, _ = strings.Cut(kind, ";")
		if media.MIMEType == "" {
			media.MIMEType = kind
		}
	} else if media.URL != "" {
		place, _, _ = strings.Cut(media.URL, "?")
	}
	if media.Name == "" && place != "" {
		media.Name = path.Base(place)
	}
	if media.MIMEType == "" {
		media.MIMEType = sniff(media.Data)
	}
	if media.MIMEType == "" {
		media.MIMEType = byExtension(path.Ext(media.Name))
	}
}

// sniff knows the beginnings of what models take (WHATWG MIME Sniffing §6).
func sniff(data []byte) string {
	riff := func(kind string) bool {
		return len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == kind
	}
	switch {
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		return "image/png"
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return "image/jpeg"
	case bytes.HasPrefix(data, []byte("GIF8")):
		return "image/gif"
	case riff("WEBP"):
		return "image/webp"
	case bytes.HasPrefix(data, []byte("%PDF-")):
		return "application/pdf"
	case riff("WAVE"):
		return "audio/wav"
	case bytes.HasPrefix(data, []byte("ID3")), len(data) > 1 && data[0] == 0xff && data[1]&0xe6 == 0xe2: // layer III
		return "audio/mpeg"
	}
	return ""
}

func byExtension(extension string) string {
	switch strings.ToLower(extension) {
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".webp":
		return "image/webp"
	case ".pdf":
		return "application/pdf"
	case ".wav":
		return "audio/wav"
	case ".mp3":
		return "audio/mpeg"
	}
	return ""
}
