// The embedding of a sequence: one vector from the hidden states of its tokens.
#ifndef INLAY_MODEL_EMBEDDING_HPP_
#define INLAY_MODEL_EMBEDDING_HPP_

#include <algorithm>
#include <cstddef>
#include <span>

#include "inlay/config/model_config.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/model/outputs.hpp"
#include "inlay/model/workspace.hpp"

INLAY_BEGIN_NAMESPACE

// Reads `tokens` from the beginning of an empty or emptied cache and writes their pooled hidden states to `out` [dim], not
// normalised. Decoders read in passes of the workspace's batch, with the same result for every batch; a model whose tokens
// all see each other needs a workspace for all of them. Pooling::kNone: the mean.
// `adapters`: what the sequence runs with, if anything.
// Errors: kInvalidArgument (no tokens, the size of `out`), and those of Embed. Afterwards the cache holds the tokens.
template <class ModelType>
Result<void> EmbedSequence(const ModelType& model, SequenceCache& cache, Workspace& workspace,
                           std::span<const TokenId> tokens, Pooling pooling, std::span<float> out, ExecutorRef executor,
                           const Adapters* adapters = nullptr) {
  const std::size_t dim = model.config().dim;
  if (tokens.empty()) return Fail(ErrorCode::kInvalidArgument, "tokens", "nothing to read");
  if (out.size() != dim) {
    return Fail(ErrorCode::kInvalidArgument, "embedding", "has ", dim, " values, the memory handed over is for ", out.size());
  }
  const bool causal = model.config().attention.causal;
  if (!causal && tokens.size() > workspace.batch()) {
    return Fail(ErrorCode::kTooLarge, "tokens", tokens.size(), " tokens; this model reads a whole sequence in one pass, and "
                "the workspace is made for ", workspace.batch());
  }
  cache.Truncate(0);
  const bool mean = pooling == Pooling::kMean || pooling == Pooling::kNone;
  if (mean) std::fill(out.begin(), out.end(), 0.0f);
  for (std::size_t done = 0; done < tokens.size();) {
    const std::size_t count = std::min(workspace.batch(), tokens.size() - done);
    const bool last = done + count == tokens.size();
    const bool wanted = mean || (pooling == Pooling::kCls ? done == 0 : last);
    const Outputs outputs = !wanted                       ? Outputs::kNone
                            : pooling == Pooling::kLast   ? Outputs::kLast
                                                          : Outputs::kAll;
    const SequenceInput input{&cache, tokens.subspan(done, count), outputs, adapters};
    INLAY_ASSIGN_OR_RETURN(const HiddenView hidden, model.Embed({&input, 1}, workspace, executor));
    if (mean) {
      for (std::size_t row = 0; row < hidden.rows; ++row) {
        for (std::size_t i = 0; i < dim; ++i) out[i] += hidden.row(row)[i];
      }
    } else if (wanted) {
      std::copy_n(hidden.row(0).begin(), dim, out.begin());
    }
    done += count;
  }
  if (mean) {
    for (float& value : out) value /= static_cast<float>(tokens.size());
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_EMBEDDING_HPP_
