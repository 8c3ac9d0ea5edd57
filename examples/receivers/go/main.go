// Receives notifications of jobwarden: go run . SECRET_FILE PORT
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	check(err)
	var secrets []*standardwebhooks.Webhook // Two while the secret is being replaced.
	for _, line := range strings.Fields(string(text)) {
		secret, err := standardwebhooks.NewWebhook(line)
		check(err)
		secrets = append(secrets, secret)
	}
	var seen sync.Map // In production a table with a unique key, in the transaction that changes the state of the job.
	receive := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		isSigned := false
		for _, secret := range secrets {
			isSigned = isSigned || err == nil && secret.Verify(body, r.Header) == nil
		}
		if !isSigned {
			http.Error(w, "no valid signature", http.StatusUnauthorized)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		event, err := cloudevents.NewEventFromHTTPRequest(r)
		var data struct{ Kind, Namespace, JobName, Message string }
		if err != nil || event.DataAs(&data) != nil {
			http.Error(w, "no CloudEvent with JSON", http.StatusBadRequest)
			return
		}
		again := ""
		if _, known := seen.LoadOrStore(event.ID(), true); known {
			again = " again"
		}
		fmt.Printf("%s%s: %s %s/%s: %q\n", event.ID(), again, data.Kind, data.Namespace, data.JobName, data.Message)
		w.WriteHeader(http.StatusNoContent) // Only now: what is not acknowledged comes again.
	}
	check(http.ListenAndServe("127.0.0.1:"+os.Args[2], http.HandlerFunc(receive)))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
