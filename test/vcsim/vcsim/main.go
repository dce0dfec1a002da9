// vcsim: govmomi's vCenter/ESX simulator on a free port over HTTPS. Prints one JSON line {"url", "thumbprint"} when it
// serves, and ends when its standard input does, so that it never outlives the test that started it.
package main

import (
	"crypto/sha1"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"strings"

	"github.com/vmware/govmomi/simulator"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	esx := flag.Bool("esx", false, "ESX model instead of vCenter")
	user := flag.String("user", "administrator", "user name")
	password := flag.String("password", "secret", "password")
	datastores := flag.Int("datastores", 1, "number of datastores")
	flag.Parse()
	log.SetOutput(io.Discard)
	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	}
	model.Datastore = *datastores
	check(model.Create())
	model.Service.TLS = new(tls.Config)
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(*user, *password)}
	server := model.Service.NewServer()
	sum := sha1.Sum(server.Certificate().Raw)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	address := &url.URL{Scheme: "https", Host: server.URL.Host, Path: "/sdk"}
	check(json.NewEncoder(os.Stdout).Encode(map[string]string{"url": address.String(), "thumbprint": strings.Join(parts, ":")}))
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Close()
	model.Remove()
}
