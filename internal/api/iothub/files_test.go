package iothub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/blob"
)

type uploadAnswer struct{ CorrelationID, HostName, ContainerName, BlobName, SASToken string }

func (s *site) begin(token, device, name string) uploadAnswer {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"blobName": name})
	if err != nil {
		s.t.Fatal(err)
	}
	var u uploadAnswer
	s.send("POST", "/devices/"+url.PathEscape(device)+"/files", string(body), "Authorization", token).ok(200, &u)
	return u
}

// upload does what a client of the blob surface does with the answer.
func (s *site) upload(u uploadAnswer, text string) {
	s.t.Helper()
	at, err := url.Parse("https://" + u.HostName + "/" + u.ContainerName + "/" + u.BlobName + u.SASToken)
	if err != nil {
		s.t.Fatal(err)
	}
	container, name, _ := strings.Cut(at.Path[1:], "/")
	ref := blob.Ref{Container: container, Name: name}
	c, err := s.files.Grants.Check(at.Query(), ref, netip.Addr{}, true, time.Now())
	if err != nil || c.Permissions.String() != "rw" {
		s.t.Fatalf("%s: %v", at, err)
	}
	other := ref
	other.Name += "x"
	if _, err := s.files.Grants.Check(at.Query(), other, netip.Addr{}, true, time.Now()); err == nil {
		s.t.Error("the signature opens another blob")
	}
	if _, err := s.files.Blobs.Put(s.t.Context(), ref, strings.NewReader(text), blob.WriteOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

const uploaded = `{"isSuccess":true,"statusCode":201,"statusDescription":"ok"}`

func TestFileUpload(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		s.send("PUT", "/devices/d%231", `{}`).ok(200, nil)
		token := s.deviceToken("d")
		const notify = "/devices/d/files/notifications"
		u := s.begin(token, "d", "dir/file.txt")
		if u.CorrelationID == "" || u.HostName != "hub.example:8443" || u.ContainerName != "uploads" || u.BlobName != "d/dir/file.txt" || !strings.HasPrefix(u.SASToken, "?sv=") {
			t.Errorf("answer %+v", u)
		}
		s.send("POST", notify+"/"+u.CorrelationID, uploaded, "Authorization", token).refused("nothing uploaded", 400, "InvalidStorageEndpointOrBlob", "d/dir/file.txt")
		s.upload(u, "content")
		// As Node says it, and as others do; an answer may be lost.
		s.send("POST", notify+"/"+url.PathEscape(u.CorrelationID), uploaded, "Authorization", token, "iothub-name", "hub").ok(204, nil)
		s.send("POST", notify, `{"correlationId":"`+u.CorrelationID+`",`+uploaded[1:], "Authorization", token).ok(204, nil)
		odd := s.begin(s.token("device"), "d#1", `50% \ "ü"?`)
		s.upload(odd, "odd")
		failed := s.begin(token, "d", "failed")
		s.send("POST", notify, `{"correlationId":"`+failed.CorrelationID+`","isSuccess":false,"statusCode":500}`, "Authorization", token).ok(204, nil)

		for name, tt := range map[string]struct{ path, body, code string }{
			"unknown":         {notify + "/abc", uploaded, "InvalidFileUploadCorrelationId"},
			"of another":      {notify + "/" + odd.CorrelationID, uploaded, "InvalidFileUploadCorrelationId"},
			"none":            {notify, uploaded, "InvalidFileUploadCorrelationId"},
			"two":             {notify + "/x", `{"correlationId":"y",` + uploaded[1:], "InvalidFileUploadCorrelationId"},
			"no outcome":      {notify + "/abc", `{"statusCode":200}`, "InvalidFileUploadCompletionStatus"},
			"status code":     {notify + "/abc", `{"isSuccess":true,"statusCode":"fine"}`, "InvalidFileUploadCompletionStatus"},
			"outcome's type":  {notify + "/abc", `{"isSuccess":"yes"}`, "ArgumentInvalid"},
			"no JSON":         {notify + "/abc", `{`, "DeserializationError"},
			"no name":         {"/devices/d/files", `{}`, "ArgumentNull"},
			"empty name":      {"/devices/d/files", `{"blobName":""}`, "ArgumentNull"},
			"name's type":     {"/devices/d/files", `{"blobName":1}`, "ArgumentInvalid"},
			"long name":       {"/devices/d/files", `{"blobName":"` + strings.Repeat("x", 1025) + `"}`, "ArgumentInvalid"},
			"long with id":    {"/devices/d/files", `{"blobName":"` + strings.Repeat("x", 1023) + `"}`, "ArgumentInvalid"},
			"parts":           {"/devices/d/files", `{"blobName":"` + strings.Repeat("x/", 300) + `"}`, "ArgumentInvalid"},
			"up":              {"/devices/d/files", `{"blobName":"../other/x"}`, "ArgumentInvalid"},
			"up, backslashed": {"/devices/d/files", `{"blobName":"a\\..\\..\\secret"}`, "ArgumentInvalid"},
			"dot":             {"/devices/d/files", `{"blobName":"a/./b"}`, "ArgumentInvalid"},
			"control":         {"/devices/d/files", `{"blobName":"a\u0001b"}`, "ArgumentInvalid"},
		} {
			s.send("POST", tt.path, tt.body, "Authorization", token).refused(name, 400, tt.code)
		}
		s.send("POST", "/devices/d/modules/m/files", `{"blobName":"x"}`, "Authorization", token).refused("module", 404, "GenericNotFound")
		if _, err := s.files.Blobs.Head(t.Context(), blob.Ref{Container: "uploads", Name: `d#1/50% \ "ü"?`}); err != nil {
			t.Error(err)
		}
	})
}

// TestFileUploadLimit: a device has at most ten uploads open, whatever others
// have; one that is made anew begins anew.
func TestFileUploadLimit(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		s.send("PUT", "/devices/e", `{}`).ok(200, nil)
		token := s.deviceToken("d")
		var first uploadAnswer
		for i := range 10 {
			u := s.begin(token, "d", fmt.Sprint(i))
			if i == 0 {
				first = u
			}
		}
		s.send("POST", "/devices/d/files", `{"blobName":"x"}`, "Authorization", token).refused("the 11th", 403, "DeviceMaximumActiveFileUploadLimitExceeded", "10")
		s.begin(s.deviceToken("e"), "e", "x")
		s.send("POST", "/devices/d/files/notifications", `{"correlationId":"`+first.CorrelationID+`","isSuccess":false,"statusCode":-1}`, "Authorization", token).ok(204, nil)
		second := s.begin(token, "d", "x")
		s.send("DELETE", "/devices/d", "").ok(204, nil)
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		token = s.deviceToken("d")
		s.begin(token, "d", "x")
		s.send("POST", "/devices/d/files/notifications/"+second.CorrelationID, uploaded, "Authorization", token).refused("of the device before", 400, "InvalidFileUploadCorrelationId")
	})
}

func TestFileNotifications(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		token := s.deviceToken("d")
		const path = "/messages/serviceBound/filenotifications"
		s.send("GET", path, "").ok(204, nil)
		for _, name := range []string{"a b", "two"} {
			u := s.begin(token, "d", name)
			s.upload(u, "text of "+name)
			for range 2 { // it is told once
				s.send("POST", "/devices/d/files/notifications/"+u.CorrelationID, uploaded, "Authorization", token).ok(204, nil)
			}
		}
		failed := s.begin(token, "d", "failed")
		s.send("POST", "/devices/d/files/notifications/"+failed.CorrelationID, `{"isSuccess":false}`, "Authorization", token).ok(204, nil)

		a := s.send("GET", path, "")
		var n struct {
			DeviceID, BlobURI, BlobName, LastUpdatedTime, EnqueuedTimeUtc string
			BlobSizeInBytes                                               int64
		}
		if err := json.Unmarshal([]byte(a.body), &n); err != nil || a.status != 200 || a.header.Get("Content-Type") != "application/vnd.microsoft.iothub.filenotification.json" {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
		_, err1 := time.Parse("2006-01-02T15:04:05+00:00", n.LastUpdatedTime)
		_, err2 := time.Parse("2006-01-02T15:04:05.0000000Z", n.EnqueuedTimeUtc)
		if n.DeviceID != "d" || n.BlobURI != "https://hub.example:8443/uploads/d/a%20b" || n.BlobName != "d/a b" || n.BlobSizeInBytes != 11 || errors.Join(err1, err2) != nil {
			t.Errorf("%s", a.body)
		}
		b := s.send("GET", path, "")
		if b.status != 200 || !strings.Contains(b.body, `"blobName":"d/two"`) {
			t.Errorf("%d %s", b.status, b.body)
		}
		s.send("GET", path, "").ok(204, nil)
		s.send("POST", path+"/"+a.etag()+"/abandon", "").ok(204, nil)
		s.send("POST", path+"/"+a.etag()+"/abandon", "").refused("twice", 412, "DeviceMessageLockLost")
		again := s.send("GET", path, "")
		if again.body != a.body || again.header.Get("iothub-deliverycount") != "1" || a.header.Get("iothub-deliverycount") != "0" {
			t.Errorf("%v %s", again.header, again.body)
		}
		for _, one := range []answer{again, b} {
			s.send("DELETE", path+"/"+one.etag(), "").ok(204, nil)
		}
		s.send("GET", path, "").ok(204, nil)
		s.send("DELETE", path+"/x", "").refused("no token", 412, "DeviceMessageLockLost")
	})
}
