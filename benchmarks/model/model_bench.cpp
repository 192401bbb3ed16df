// Whole models with random weights: a prompt, and single tokens. The static and the dynamic model are measured side by
// side, because the ratio between them is what compiling the dimensions in is worth.
//
// Counters: tokens/s; MAC/cycle (multiply-accumulates of the matrices per cycle of one core); for single tokens GB/s of
// weights. Arguments: threads.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "benchmarks/support/clock.hpp"
#include "inlay/config/known_models.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/generate/session.hpp"
#include "inlay/model/model.hpp"
#include "inlay/weights/pack.hpp"

namespace {

using namespace inlay;

constexpr std::size_t kPrompt = 128;

// A model of ModelType's kind. Rows repeat after 64 of them: what they hold changes no speed.
template <class ModelType>
struct RandomModel {
  RandomModel(const ModelConfig& config, WeightType type) : layers(config.layers) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> uniform(-0.05f, 0.05f);
    std::vector<SourceTensor> sources(TensorCount(config));
    std::vector<WeightType> types(sources.size());
    std::vector<std::vector<std::byte>> data(sources.size());
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const TensorId id = TensorAt(i);
      if (!HasRole(config, id)) continue;
      const TensorShape shape = ShapeOf(config, id);
      const WeightType stored = IsVector(id.role) ? WeightType::kF32 : type;
      const std::size_t row_bytes = RowBytes(stored, shape.cols);
      std::vector<float> row(shape.cols);
      data[i].resize(shape.rows * row_bytes);
      for (std::size_t r = 0; r < shape.rows; ++r) {
        if (r < 64) {
          for (float& value : row) value = IsVector(id.role) ? 1.0f : uniform(random);
          EncodeRow(stored, row.data(), shape.cols, data[i].data() + r * row_bytes);
        } else {
          std::copy_n(data[i].data() + r % 64 * row_bytes, row_bytes, data[i].data() + r * row_bytes);
        }
      }
      sources[i] = {data[i].data(), stored};
      if (!IsVector(id.role)) macs += shape.rows * shape.cols * (id.role != TensorRole::kTokenEmbedding || config.tied_embeddings);
    }
    ListTypes(sources, types);
    packed = *OwnedBuffer::Create(PackedWeightsBytes(config, types));
    SerialExecutor serial;
    (void)PackWeights(config, sources, false, packed.bytes(), serial, [](std::size_t, std::size_t) { return true; });
    model = std::make_unique<ModelType>(*ModelType::Create(config, types, packed.bytes(), layers));
  }

  std::vector<LayerWeights> layers;
  OwnedBuffer packed;
  std::unique_ptr<ModelType> model;
  std::size_t macs = 0;  // per token
};

template <class ModelType>
struct Run {
  Run(const ModelConfig& config, WeightType type, std::size_t threads) : weights(config, type), pool(threads) {
    SessionOptions options;
    options.context = config.context < 512 ? config.context : 512;
    options.threads = threads;
    memory = *OwnedBuffer::Create(*Session<ModelType>::MemoryBytes(*weights.model, options));
    session = std::make_unique<Session<ModelType>>(*Session<ModelType>::Create(*weights.model, options, memory.bytes()));
    for (std::size_t i = 0; i < kPrompt; ++i) prompt.push_back(static_cast<TokenId>(i * 37 % config.vocab));
  }

  RandomModel<ModelType> weights;
  ThreadPool pool;
  OwnedBuffer memory;
  std::unique_ptr<Session<ModelType>> session;
  std::vector<TokenId> prompt;
};

void Report(benchmark::State& state, std::size_t tokens, std::size_t macs) {
  const double done = static_cast<double>(state.iterations()) * static_cast<double>(tokens);
  state.counters["tokens/s"] = benchmark::Counter(done, benchmark::Counter::kIsRate);
  state.counters["MAC/cycle"] =
      benchmark::Counter(done * static_cast<double>(macs) / inlay_bench::ClockRate() /
                             static_cast<double>(state.range(0)),
                         benchmark::Counter::kIsRate);
}

template <class ModelType, const ModelConfig& kConfig, WeightType kType>
void Prefill(benchmark::State& state) {
  Run<ModelType> run(kConfig, kType, static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    run.session->Truncate(0);
    if (!run.session->Append(run.prompt, run.pool)) state.SkipWithError("forward pass failed");
  }
  Report(state, kPrompt, run.weights.macs);
}

// The context stays between 1 and 64 positions.
template <class ModelType, const ModelConfig& kConfig, WeightType kType>
void Decode(benchmark::State& state) {
  Run<ModelType> run(kConfig, kType, static_cast<std::size_t>(state.range(0)));
  const TokenId token = 5;
  for (auto _ : state) {
    if (run.session->length() == 64) run.session->Truncate(0);
    if (!run.session->Append({&token, 1}, run.pool)) state.SkipWithError("forward pass failed");
  }
  Report(state, 1, run.weights.macs);
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * 1e-9 * static_cast<double>(run.weights.packed.size()),
                         benchmark::Counter::kIsRate);
}

#define INLAY_BENCHMARK_MODEL(model, config, type)                             \
  BENCHMARK(Prefill<model, config, type>)->Arg(1)->Arg(2)->UseRealTime(); \
  BENCHMARK(Decode<model, config, type>)->Arg(1)->Arg(2)->UseRealTime()

using Static260K = Model<kStories260K, Formats<WeightType::kF32>>;
using Dynamic260K = BasicModel<DynamicSpec, Formats<WeightType::kF32>>;
using Static15M = Model<kStories15M, Formats<WeightType::kQ8_0>>;
using Dynamic15M = BasicModel<DynamicSpec, Formats<WeightType::kQ8_0>>;
using Static135M = Model<kSmolLM2_135M, Formats<WeightType::kQ8_0>>;
using Dynamic135M = Dynamic15M;

INLAY_BENCHMARK_MODEL(Static260K, kStories260K, WeightType::kF32);
INLAY_BENCHMARK_MODEL(Dynamic260K, kStories260K, WeightType::kF32);
INLAY_BENCHMARK_MODEL(Static15M, kStories15M, WeightType::kQ8_0);
INLAY_BENCHMARK_MODEL(Dynamic15M, kStories15M, WeightType::kQ8_0);
INLAY_BENCHMARK_MODEL(Static135M, kSmolLM2_135M, WeightType::kQ8_0);
INLAY_BENCHMARK_MODEL(Dynamic135M, kSmolLM2_135M, WeightType::kQ8_0);

}  // namespace
