package iothub

import (
	"net/http"

	"dunlin/internal/things/job"
)

// transferOut is an import or export as this surface writes it.
type transferOut struct {
	JobID    string `json:"jobId"`
	Status   string `json:"status"`
	Progress int    `json:"progress"`
	Start    string `json:"startTimeUtc"`
	End      string `json:"endTimeUtc,omitempty"`
	Failure  string `json:"failureReason,omitempty"`
	Message  string `json:"statusMessage,omitempty"`
	transferIn
}

// transferIn is what a caller says of one. The signatures of its addresses are
// not given back.
type transferIn struct {
	Type           string `json:"type"`
	Input          string `json:"inputBlobContainerUri,omitempty"`
	Output         string `json:"outputBlobContainerUri,omitempty"`
	InputBlob      string `json:"inputBlobName,omitempty"`
	OutputBlob     string `json:"outputBlobName,omitempty"`
	ExcludeKeys    bool   `json:"excludeKeysInExport"`
	Authentication string `json:"storageAuthenticationType,omitempty"`
	Configurations bool   `json:"includeConfigurations,omitempty"`
	ConfigBlob     string `json:"configurationsBlobName,omitempty"`
}

func outOfTransfer(j *job.Job) (*transferOut, error) {
	s, err := j.Transfer()
	if err != nil {
		return nil, err
	}
	out := &transferOut{
		JobID: j.ID, Status: j.Status.String(), Progress: j.Progress, Start: timeText(j.Start), End: dateText(j.Ended), Failure: j.Failure, Message: j.Message,
		transferIn: transferIn{
			Type: s.Type, Input: s.Input, Output: s.Output, InputBlob: s.InputBlob, OutputBlob: s.OutputBlob, ExcludeKeys: s.ExcludeKeys,
			Authentication: s.Authentication, Configurations: s.Configurations, ConfigBlob: s.ConfigBlob,
		},
	}
	return out, nil
}

// createTransfer answers POST /jobs/create.
func createTransfer(c *call) error {
	var in transferIn
	if err := c.decode(maxBody, &in); err != nil {
		return err
	}
	j, err := c.hub.StartTransfer(c.r.Context(), job.TransferSpec{
		Type: in.Type, Input: in.Input, Output: in.Output, InputBlob: in.InputBlob, OutputBlob: in.OutputBlob, ExcludeKeys: in.ExcludeKeys,
		Authentication: in.Authentication, Configurations: in.Configurations, ConfigBlob: in.ConfigBlob,
	})
	return c.replyTransfer(&j, err)
}

// getTransfer answers GET /jobs/{job}.
func getTransfer(c *call) error {
	j, err := c.hub.Transfer(c.r.Context(), c.job)
	return c.replyTransfer(&j, err)
}

func (c *call) replyTransfer(j *job.Job, err error) error {
	if err != nil {
		return err
	}
	out, err := outOfTransfer(j)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, out)
}

// listTransfers answers GET /jobs.
func listTransfers(c *call) error {
	list, err := c.hub.Transfers(c.r.Context())
	if err != nil {
		return err
	}
	out := make([]*transferOut, len(list))
	for i := range list {
		if out[i], err = outOfTransfer(&list[i]); err != nil {
			return err
		}
	}
	return c.reply(http.StatusOK, out)
}

// deleteTransfer answers DELETE /jobs/{job}: it cancels.
func deleteTransfer(c *call) error {
	if err := c.hub.CancelTransfer(c.r.Context(), c.job); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
