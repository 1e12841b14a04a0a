// Package anomaly finds what is unusual in a stream of numbers. It knows times
// and floats, and nothing of queries: the three functions of the stream language
// are built on its three types.
//
// # Detector
//
// Detector is our own, for AnomalyScore: an ensemble that looks whether an event
// is in a context in which the stream was never seen before. A context is a pair
// of small facts about the present: the value and what it was some events ago,
// the value and the hour of the day, the mean and the deviation of the last few
// events, and so on, each pair chosen because an ordinary kind of anomaly shows
// in it (see contexts in detector.go). For each pair there is a grid of 32 by 32
// cells with a bit for each cell: has it been seen. An event whose cell is empty
// is new in that context, the more the farther the next seen cell is. The share
// of contexts that agree is the raw score; what the events just before had of it
// adds up, and of a stream's first hundreds of events it is damped.
//
// This needs no distribution, no scale, no threshold and no training: the axes
// of a grid grow with the values, a cell counts as known once it has been seen,
// and so the same odd thing is odd only once. Seasons need no model: a context
// with an hour, or with an earlier value, holds each phase of a season in cells
// of its own.
//
// What makes an alarm is not one event but an episode. The raw score passes only
// when it is above the fading peak of the episode before, and it is divided by
// one more than the number of like episodes that the stream had of late. A noisy
// stream thus calms itself, and in a calm one a small surprise counts.
//
// Forgetting: the cells belong to two generations. The younger is filled for as
// long as LIMIT DURATION says, and for at least 10,000 events, and then takes
// the place of the older. What has not been seen for two generations is new
// again, and an axis that one wild value stretched is gone with it.
//
// Sources: the idea that novelty of contexts, not distance from a mean, finds the
// anomalies that people mark is from M. Smirnov's contextual anomaly detector
// (CAD OSE, 2016) and from HTM (Ahmad, Lavin, Purdy, Agha: "Unsupervised
// real-time anomaly detection for streaming data", Neurocomputing 262, 2017);
// ensembles of low-dimensional grids from Sathe and Aggarwal, "Subspace Outlier
// Detection in Linear Time with Randomized Hashing", ICDM 2016, and Manzoor,
// Lamba, Akoglu, "xStream", KDD 2018; two generations of known cells from Tan,
// Ting, Liu, "Fast Anomaly Detection for Streaming Data", IJCAI 2011. No code is
// taken from any of them.
//
// # SpikeAndDip and ChangePoint
//
// These two are documented functions of the language. Their numbers are not, so
// ours are not equal to the product's: see the types for what they promise.
package anomaly
