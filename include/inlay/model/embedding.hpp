// The embedding of a sequence: one vector from the hidden states of its tokens; and the scores of a classifier or reranker.
#ifndef INLAY_MODEL_EMBEDDING_HPP_
#define INLAY_MODEL_EMBEDDING_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "inlay/config/model_config.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/model/outputs.hpp"
#include "inlay/model/workspace.hpp"
#include "inlay/weights/packed_weights.hpp"

INLAY_BEGIN_NAMESPACE

namespace detail {

// out[r] = row r of the matrix times x (+ bias). A head is run once per sequence: decoding its rows one by one costs nothing
// beside the pass, and gives the same bits on every target.  row: [cols], memory.
template <class FormatList>
void MultiplyRows(const PackedMatrix& matrix, const float* bias, std::size_t rows, std::size_t cols, const float* x, float* row,
                  float* out) {
  for (std::size_t r = 0; r < rows; ++r) {
    UnpackRow<FormatList>(matrix.type, matrix.data, cols, r, row);
    double sum = bias == nullptr ? 0.0 : static_cast<double>(bias[r]);
    for (std::size_t i = 0; i < cols; ++i) sum += static_cast<double>(row[i]) * static_cast<double>(x[i]);
    out[r] = static_cast<float>(sum);
  }
}

inline void NormalizeHead(const float* weight, float epsilon, std::span<float> x) {
  double sum = 0.0, squares = 0.0;
  for (const float value : x) sum += static_cast<double>(value);
  const double mean = sum / static_cast<double>(x.size());
  for (const float value : x) squares += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean);
  const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(epsilon));
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>((static_cast<double>(x[i]) - mean) * scale * static_cast<double>(weight[i]));
  }
}

template <class ModelType>
Result<void> PoolSequence(const ModelType& model, SequenceCache& cache, Workspace& workspace,
                          std::span<const TokenId> tokens, Pooling pooling, std::span<float> out, ExecutorRef executor,
                          const Adapters* adapters);

}  // namespace detail

// Reads `tokens` from the beginning of an empty or emptied cache and writes their pooled hidden states, as the model's own
// projections make them, to `out` [embedding_dim()], not normalised. Decoders read in passes of the workspace's batch, with the same result for every batch; a model whose tokens
// all see each other needs a workspace for all of them. Pooling::kNone: the mean.
// `adapters`: what the sequence runs with, if anything.
// Errors: kInvalidArgument (no tokens, the size of `out`, kRank), and those of Embed. Afterwards the cache holds the tokens.
template <class ModelType>
Result<void> EmbedSequence(const ModelType& model, SequenceCache& cache, Workspace& workspace,
                           std::span<const TokenId> tokens, Pooling pooling, std::span<float> out, ExecutorRef executor,
                           const Adapters* adapters = nullptr) {
  const ModelConfig& config = model.config();
  if (out.size() != config.embedding_dim()) {
    return Fail(ErrorCode::kInvalidArgument, "embedding", "has ", config.embedding_dim(),
                " values, the memory handed over is for ", out.size());
  }
  const HeadConfig& head = config.head;
  if (head.first_dim == 0 && head.last_dim == 0) {
    return detail::PoolSequence(model, cache, workspace, tokens, pooling, out, executor, adapters);
  }
  const Scratch& scratch = workspace.scratch();
  const std::span<float> pooled(scratch.pooled, config.dim);
  INLAY_CHECK_OK(detail::PoolSequence(model, cache, workspace, tokens, pooling, pooled, executor, adapters));
  const ModelWeights weights = model.weights();
  using List = typename ModelType::FormatList;
  const float* x = pooled.data();
  std::size_t width = config.dim;
  if (head.first_dim != 0) {
    float* const to = head.last_dim == 0 ? out.data() : scratch.head_hidden;
    detail::MultiplyRows<List>(weights.head_first, nullptr, head.first_dim, width, x, scratch.head_row, to);
    x = to;
    width = head.first_dim;
  }
  if (head.last_dim != 0) detail::MultiplyRows<List>(weights.head_last, nullptr, head.last_dim, width, x, scratch.head_row, out.data());
  return {};
}

// Reads `tokens` in the same way and writes the scores of the model's head to `out` [score_count()]. A reranker's single score
// is larger the better a document answers a query, which are the two parts of the tokens. Errors: kUnsupported (the model has
// no head), and as above.
// Source: the classification heads of BERT, RoBERTa, ModernBERT and Qwen3-Reranker.
template <class ModelType>
Result<void> ScoreSequence(const ModelType& model, SequenceCache& cache, Workspace& workspace,
                           std::span<const TokenId> tokens, std::span<float> out, ExecutorRef executor,
                           const Adapters* adapters = nullptr) {
  const ModelConfig& config = model.config();
  const HeadConfig& head = config.head;
  if (!config.HasScores()) return Fail(ErrorCode::kUnsupported, "scores", "this model has no head that gives any");
  if (out.size() != config.score_count()) {
    return Fail(ErrorCode::kInvalidArgument, "scores", "are ", config.score_count(), ", the memory handed over is for ", out.size());
  }
  const Scratch& scratch = workspace.scratch();
  const std::span<float> pooled(scratch.pooled, config.dim);
  INLAY_CHECK_OK(detail::PoolSequence(model, cache, workspace, tokens, head.pooling, pooled, executor, adapters));
  const ModelWeights weights = model.weights();
  using List = typename ModelType::FormatList;
  std::span<float> x = pooled;
  if (head.dense) {
    const std::span<float> hidden(scratch.head_hidden, config.dim);
    detail::MultiplyRows<List>(weights.head_dense, weights.head_dense_bias, config.dim, config.dim, x.data(), scratch.head_row,
                               hidden.data());
    for (float& value : hidden) {
      const double v = static_cast<double>(value);
      const double bent = 0.7978845608028654 * (v + 0.044715 * v * v * v);
      value = static_cast<float>(head.gelu ? 0.5 * v * (1.0 + std::tanh(bent)) : std::tanh(v));
    }
    if (head.norm) detail::NormalizeHead(weights.head_norm, config.norm_epsilon, hidden);
    x = hidden;
  }
  if (head.labels == 0) {
    std::copy(x.begin(), x.end(), out.begin());
    return {};
  }
  detail::MultiplyRows<List>(weights.head_labels, weights.head_label_bias, head.labels, config.dim, x.data(), scratch.head_row,
                             out.data());
  if (head.softmax) {
    const double largest = static_cast<double>(*std::max_element(out.begin(), out.end()));
    double sum = 0.0;
    for (const float value : out) sum += std::exp(static_cast<double>(value) - largest);
    for (float& value : out) value = static_cast<float>(std::exp(static_cast<double>(value) - largest) / sum);
  }
  return {};
}

template <class ModelType>
Result<void> detail::PoolSequence(const ModelType& model, SequenceCache& cache, Workspace& workspace,
                                  std::span<const TokenId> tokens, Pooling pooling, std::span<float> out,
                                  ExecutorRef executor, const Adapters* adapters) {
  const std::size_t dim = model.config().dim;
  if (tokens.empty()) return Fail(ErrorCode::kInvalidArgument, "tokens", "nothing to read");
  if (pooling == Pooling::kRank) {
    return Fail(ErrorCode::kInvalidArgument, "pooling", "kRank is no embedding; see ScoreSequence");
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
