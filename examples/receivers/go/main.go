// A receiver of HookMQ's webhooks: Go 1.21 or newer, standard library only. Begin here and change work.
//
// A delivery is answered with 200 when its work is done and its webhook-id is on the disk. A crash between the two, or an
// answer that is lost, brings it once more: the id tells what is done already, and for the moment between the two work itself
// has to bear being done twice.
//
// Settings come from the environment: WEBHOOK_SECRET, HOST, PORT, STATE, REMEMBER_IDS. README.md beside this folder says more.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

const (
	// One event ends at 1 MiB. Twice that leaves room for a batch of max_bytes = 1MB; for a larger one, raise it.
	bodyBytesMax = 2 << 20
	// What is read of a body over the limit, and thrown away, so that the answer is heard; then the connection is cut.
	discardedBytesMax  = 16 << 20
	timestampTolerance = 5 * time.Minute
	// Longer than the broker leaves a connection silent: it closes first, and no request meets a connection that is ending.
	keepAlive = 30 * time.Second
	stopMax   = 4 * time.Second
)

// work is the application's: one event. Its error is answered with 500, and the delivery comes again.
func work(event json.RawMessage, id string) error {
	var line bytes.Buffer
	if err := json.Compact(&line, event); err != nil {
		return err
	}
	_, err := fmt.Printf("%s %s\n", id, line.Bytes())
	return err
}

// --- a request and its answer ----------------------------------------------------------------------------------------------

// refusal is an answer other than 200.
type refusal struct {
	status  int
	because string
}

func (r refusal) Error() string { return r.because }

type receiver struct {
	key  []byte // nil: whoever comes is believed
	seen *seenIDs
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	defer func() {
		if panicked := recover(); panicked != nil {
			log.Printf("answered 500: %v", panicked)
			http.Error(w, "the work failed", http.StatusInternalServerError)
		}
	}()
	err := r.receive(request)
	var refused refusal
	switch {
	case err == nil:
		fmt.Fprintln(w, "ok")
	case errors.As(err, &refused):
		log.Printf("answered %d: %s", refused.status, refused.because)
		http.Error(w, refused.because, refused.status)
	default:
		log.Printf("answered 500: %v", err)
		http.Error(w, "the work failed", http.StatusInternalServerError)
	}
}

// Letters, digits, _ and -: a line of the file, and no "." that could shift the parts of what is signed.
var (
	idForm        = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)
	timestampForm = regexp.MustCompile(`^[0-9]{1,12}$`)
	linesForm     = regexp.MustCompile(`(?i)ndjson|jsonl`)
)

func (r *receiver) receive(request *http.Request) error {
	if request.Method != http.MethodPost {
		return refusal{http.StatusMethodNotAllowed, "only POST is taken"}
	}
	body, err := read(request.Body)
	if err != nil {
		return err
	}
	if body, err = decoded(body, request.Header.Get("Content-Encoding")); err != nil {
		return err
	}
	if r.key != nil {
		if err := verify(request.Header, body, r.key); err != nil {
			return err
		}
	}
	id := request.Header.Get("Webhook-Id")
	if !idForm.MatchString(id) {
		return refusal{http.StatusBadRequest, "webhook-id is missing, or is none"}
	}
	events, err := eventsIn(body, request.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	// The same one that comes again meanwhile waits for the first.
	release := r.seen.claim(id)
	defer release()
	if r.seen.has(id) {
		log.Printf("%s came again: it is done already", id)
		return nil
	}
	for _, event := range events {
		if err := work(event, id); err != nil {
			return err
		}
	}
	if err := r.seen.add(id); err != nil {
		log.Printf("the id of a delivery could not be written: %v", err)
		return refusal{http.StatusServiceUnavailable, "busy: the id could not be written"}
	}
	return nil
}

func read(from io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, bodyBytesMax+1))
	if err != nil {
		return nil, refusal{http.StatusBadRequest, "the body could not be read to its end"}
	}
	if len(body) > bodyBytesMax {
		_, _ = io.CopyN(io.Discard, from, discardedBytesMax)
		return nil, refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("a body may have %d bytes", bodyBytesMax)}
	}
	return body, nil
}

func decoded(body []byte, encoding string) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return body, nil
	case "gzip":
	default:
		return nil, refusal{http.StatusUnsupportedMediaType, "gzip is the encoding that is read"}
	}
	notWhole := refusal{http.StatusBadRequest, "the body is no whole gzip"}
	unpacking, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, notWhole
	}
	unpacked, err := io.ReadAll(io.LimitReader(unpacking, bodyBytesMax+1))
	if err != nil {
		return nil, notWhole
	}
	if len(unpacked) > bodyBytesMax {
		return nil, refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("a body may have %d bytes, unpacked", bodyBytesMax)}
	}
	return unpacked, nil
}

// verify is Standard Webhooks: HMAC-SHA256 over id.timestamp.body, the body as it was before it was compressed.
func verify(headers http.Header, body, key []byte) error {
	id, timestamp, signatures := headers.Get("Webhook-Id"), headers.Get("Webhook-Timestamp"), headers.Get("Webhook-Signature")
	if id == "" || timestamp == "" || signatures == "" {
		return refusal{http.StatusUnauthorized, "the request is not signed"}
	}
	if !timestampForm.MatchString(timestamp) {
		return refusal{http.StatusUnauthorized, "webhook-timestamp is no number of seconds"}
	}
	seconds, _ := strconv.ParseInt(timestamp, 10, 64)
	off := time.Now().Unix() - seconds
	if limit := int64(timestampTolerance / time.Second); off > limit || off < -limit {
		return refusal{http.StatusUnauthorized, "webhook-timestamp is more than 5 minutes off: are both clocks right?"}
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	expected := mac.Sum(nil)
	// While a secret is replaced there is one signature for each. Other versions than v1 are not for this key.
	for _, signature := range strings.Split(signatures, " ") {
		text, isV1 := strings.CutPrefix(signature, "v1,")
		given, err := base64.StdEncoding.DecodeString(text)
		if isV1 && err == nil && hmac.Equal(given, expected) {
			return nil
		}
	}
	return refusal{http.StatusUnauthorized, "no signature matches: is it the same secret?"}
}

// eventsIn finds one event, a JSON array of them, or one a line.
func eventsIn(body []byte, contentType string) ([]json.RawMessage, error) {
	notJSON := refusal{http.StatusBadRequest, "the body is no JSON"}
	if !utf8.Valid(body) {
		return nil, notJSON
	}
	var events []json.RawMessage
	body = bytes.TrimSpace(body)
	switch {
	case linesForm.MatchString(contentType):
		for _, line := range bytes.Split(body, []byte("\n")) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				events = append(events, line)
			}
		}
	case bytes.HasPrefix(body, []byte("[")):
		if err := json.Unmarshal(body, &events); err != nil {
			return nil, notJSON
		}
	default:
		events = append(events, body)
	}
	for _, event := range events {
		if !json.Valid(event) {
			return nil, notJSON
		}
		if event[0] != '{' {
			return nil, refusal{http.StatusBadRequest, "an event is a JSON object"}
		}
	}
	return events, nil
}

// --- ids that were done, on the disk ---------------------------------------------------------------------------------------

// seenIDs keeps one id a line in the file "ids"; when it has max of them it becomes "ids.1", and the former "ids.1" is
// forgotten: so the last max are always known, and never more than twice as many are kept. For one process: a second would
// not see what is added.
type seenIDs struct {
	folder string
	max    int

	lock      sync.Mutex // holds all that follows
	newer     map[string]struct{}
	older     map[string]struct{}
	underWay  map[string]chan struct{}
	file      *os.File
	bytes     int64
	isRenamed bool
}

func openSeenIDs(folder string, max int) (*seenIDs, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	older, _, err := idsOf(filepath.Join(folder, "ids.1"))
	if err != nil {
		return nil, err
	}
	newer, length, err := idsOf(filepath.Join(folder, "ids"))
	if err != nil {
		return nil, err
	}
	file, err := openForAppending(folder)
	if err != nil {
		return nil, err
	}
	// A line that a crash has cut short was never answered for.
	if err := file.Truncate(length); err != nil {
		return nil, err
	}
	return &seenIDs{
		folder: folder, max: max, newer: newer, older: older, underWay: map[string]chan struct{}{}, file: file, bytes: length,
	}, nil
}

// claim waits until nobody else works on the id, and returns what lets the next one in.
func (s *seenIDs) claim(id string) (release func()) {
	for {
		s.lock.Lock()
		done, taken := s.underWay[id]
		if !taken {
			mine := make(chan struct{})
			s.underWay[id] = mine
			s.lock.Unlock()
			return func() {
				s.lock.Lock()
				delete(s.underWay, id)
				s.lock.Unlock()
				close(mine)
			}
		}
		s.lock.Unlock()
		<-done
	}
}

func (s *seenIDs) has(id string) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	_, isNewer := s.newer[id]
	_, isOlder := s.older[id]
	return isNewer || isOlder
}

// add returns when the id is on the disk.
func (s *seenIDs) add(id string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if len(s.newer) >= s.max {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	line := id + "\n"
	_, err := s.file.WriteString(line)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		// Half a line would spoil the next one.
		return errors.Join(err, s.file.Truncate(s.bytes))
	}
	s.bytes += int64(len(line))
	s.newer[id] = struct{}{}
	return nil
}

func (s *seenIDs) rotate() error {
	// A step that fails is made again with the next id; a second rename would put the new, empty file over the ids.
	if !s.isRenamed {
		if err := os.Rename(filepath.Join(s.folder, "ids"), filepath.Join(s.folder, "ids.1")); err != nil {
			return err
		}
		s.isRenamed = true
	}
	file, err := openForAppending(s.folder)
	if err != nil {
		return err
	}
	_ = s.file.Close()
	s.file, s.bytes, s.isRenamed = file, 0, false
	s.older, s.newer = s.newer, map[string]struct{}{}
	return nil
}

// openForAppending opens "ids", and sees to it that its name is on the disk too.
func openForAppending(folder string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(folder, "ids"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	directory, err := os.Open(folder)
	if err == nil {
		err = directory.Sync()
		_ = directory.Close()
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func idsOf(name string) (map[string]struct{}, int64, error) {
	ids := map[string]struct{}{}
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	for _, line := range bytes.Split(whole, []byte("\n")) {
		if len(line) > 0 {
			ids[string(line)] = struct{}{}
		}
	}
	return ids, int64(len(whole)), nil
}

// --- start and stop --------------------------------------------------------------------------------------------------------

func main() {
	if err := run(); err != nil {
		log.Fatalf("The receiver does not start: %v", err)
	}
}

func run() error {
	key, err := keyOf(os.LookupEnv("WEBHOOK_SECRET"))
	if err != nil {
		return err
	}
	max, err := strconv.Atoi(setting("REMEMBER_IDS", "100000"))
	if err != nil || max < 1 || max > 5_000_000 {
		return errors.New("REMEMBER_IDS is a number from 1 to 5000000")
	}
	seen, err := openSeenIDs(setting("STATE", "receiver-state"), max)
	if err != nil {
		return err
	}
	// Another file than now, once ids have been rotated.
	defer func() { _ = seen.file.Close() }()
	listener, err := net.Listen("tcp", net.JoinHostPort(setting("HOST", "127.0.0.1"), setting("PORT", "8888")))
	if err != nil {
		return err
	}
	if key == nil {
		log.Print("WARNING: WEBHOOK_SECRET is not set, so whoever reaches this port is believed")
	}
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{
		Handler:           &receiver{key: key, seen: seen},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       keepAlive,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	fmt.Printf("Receiver is listening on http://%s\n", listener.Addr())
	select {
	case err := <-ended:
		return err
	case <-asked.Done():
	}
	// What is under way is finished; for what hangs there is an end: it comes again.
	limited, cancel := context.WithTimeout(context.Background(), stopMax)
	defer cancel()
	if server.Shutdown(limited) != nil {
		_ = server.Close()
		log.Print("stopped before all requests were answered")
	}
	return nil
}

func setting(name, otherwise string) string {
	if value, isSet := os.LookupEnv(name); isSet {
		return value
	}
	return otherwise
}

// keyOf gives the bytes that whsec_… stands for. An empty secret is a mistake, not a wish for none.
func keyOf(secret string, isSet bool) ([]byte, error) {
	if !isSet {
		return nil, nil
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, errors.New("WEBHOOK_SECRET is whsec_ and base64, as in the broker's configuration; unset it to take everything")
	}
	return key, nil
}
