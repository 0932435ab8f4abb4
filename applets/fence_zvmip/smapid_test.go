//go:build linux

package fencezvmip_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/haobox/haobox/internal/cmdtest"
	"github.com/haobox/haobox/internal/smapi"
	"github.com/haobox/haobox/platform/transport"
)

// startLimit bounds the start of a program that a test needs.
const startLimit = 20 * time.Second

// product is the binary as it is shipped, built once.
var product struct {
	once sync.Once
	path string
}

// binary returns the path of the product, with links named after its applets
// beside it.
func binary(t *testing.T) string {
	t.Helper()
	if p := os.Getenv(binaryVariable); p != "" {
		return p
	}
	product.once.Do(func() {
		built := cmdtest.Build(t, "../..", ".")
		dir, err := os.MkdirTemp("", "haobox-clients-")
		if err != nil {
			t.Fatal(err)
		}
		product.path = filepath.Join(dir, "haobox")
		if err := os.Rename(built, product.path); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"smapid", "fence_zvmip", "fence_zvm"} {
			if err := os.Symlink("haobox", filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	})
	return product.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if product.path != "" {
		os.RemoveAll(filepath.Dir(product.path))
	}
	os.Exit(code)
}

// applet returns the path of the product's link of that name.
func applet(t *testing.T, name string) string {
	return filepath.Join(filepath.Dir(binary(t)), name)
}

// smapid is a running simulated z/VM with the guests CNODE1 and CNODE2.
type smapid struct {
	// tcp and tls are the addresses it listens at, cert its certificate.
	tcp, tls, cert string
}

// startSmapid starts one that ends with the test.
func startSmapid(t *testing.T, args ...string) *smapid {
	t.Helper()
	s := &smapid{cert: filepath.Join(t.TempDir(), "cert.pem")}
	args = append([]string{
		"--listen", "tcp:127.0.0.1:0", "--listen", "tls:127.0.0.1:0", "--tls-write-cert", s.cert,
		"--guests", "CNODE1,CNODE2", "--authorize", "CMANAGER:SECRET",
	}, args...)
	cmd := exec.Command(applet(t, "smapid"), args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("smapid: %v: %s", err, errs.String())
		}
	})
	lines := make(chan string)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			select {
			case lines <- sc.Text():
			case <-time.After(startLimit):
			}
		}
	}()
	limit := time.After(startLimit)
	for s.tcp == "" || s.tls == "" {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("smapid ended: %s", errs.String())
			}
			if _, addr, ok := strings.Cut(line, "tcp:"); ok {
				s.tcp, _, _ = strings.Cut(addr, " ")
			}
			if _, addr, ok := strings.Cut(line, "tls:"); ok {
				s.tls, _, _ = strings.Cut(addr, " ")
			}
		case <-limit:
			t.Fatalf("smapid does not say where it listens: %s", errs.String())
		}
	}
	go func() {
		for range lines {
		}
	}()
	return s
}

// power asks the simulated z/VM itself for the state of a guest.
func (s *smapid) power(t *testing.T, guest string) smapi.Power {
	t.Helper()
	d, err := transport.NewDialer("tcp:"+s.tcp, transport.Defaults{}, transport.ClientTLS{})
	if err != nil {
		t.Fatal(err)
	}
	c := smapi.Client{Dialer: smapi.DialFunc(d.Dial), User: "CMANAGER", Password: "SECRET"}
	p, err := c.ImageStatus(context.Background(), guest)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// port is the port of an address.
func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
