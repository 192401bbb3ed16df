// Logits of the reference files against those that llama.cpp computes for them (tests/README of the fixtures names the
// version and the settings). The tolerances are those that the files' own documentation suggests.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "inlay/config/families.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/model/embedding.hpp"
#include "tests/support/fixtures.hpp"
#include "tests/support/rounding.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using Json = nlohmann::json;

AlignedBytes ReadBytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> bytes(std::istreambuf_iterator<char>(in), {});
  const auto view = std::as_bytes(std::span(bytes));
  return {view.begin(), view.end()};
}

Json ReadJson(const std::filesystem::path& path) {
  std::ifstream in(path);
  return Json::parse(in);
}

// All logits of the file's tokens, and how far they are from a set of expected ones.
class Golden {
 public:
  Golden(const std::filesystem::path& gguf, const Json& expected) : expected_(expected) {
    inlay::SerialExecutor serial;
    const OpenedModel model = OpenModel(ReadBytes(gguf));
    tokens_ = expected.at("tokens").get<std::vector<inlay::TokenId>>();
    vocab_ = model->config().vocab;
    // The context that the reference ran with: LongRoPE depends on it.
    logits_ = AllLogits(*model, tokens_, inlay::KvType::kF32, serial, 4096, expected.value("n_ctx", std::size_t{0}));
  }

  // Compares with the fields "logits_last", "logits_pos" and "argmax", each with `suffix`.
  void Expect(const std::string& name, const std::string& suffix, double max, double rms) const {
    double largest = 0.0, squares = 0.0;
    std::size_t count = 0;
    const auto compare = [&](std::size_t position, const std::vector<double>& row) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        const double error = std::abs(static_cast<double>(At(position, i)) - row[i]);
        largest = std::max(largest, error);
        squares += error * error;
        ++count;
      }
    };
    const auto last = expected_.at("logits_last" + suffix).get<std::vector<double>>();
    BOOST_TEST(last.size() == vocab_);
    compare(tokens_.size() - 1, last);
    for (const auto& [position, row] : expected_.at("logits_pos" + suffix).items()) {
      compare(std::stoul(position), row.get<std::vector<double>>());
    }
    const double mean = std::sqrt(squares / static_cast<double>(count));
    BOOST_TEST_MESSAGE(name << (suffix.empty() ? "" : ", ") << suffix << ": max " << largest << ", rms " << mean);
    BOOST_TEST_CONTEXT(name << suffix) {
      BOOST_TEST(largest <= max);
      BOOST_TEST(mean <= rms);
      // "top2_gap" belongs to the plain fields; with an exact GELU it is the same but for little.
      if (!suffix.empty() && suffix != "_exact_gelu") return;
      const auto gaps = expected_.at("top2_gap").get<std::vector<double>>();
      const auto argmax = expected_.at("argmax" + suffix).get<std::vector<std::size_t>>();
      BOOST_TEST(argmax.size() == tokens_.size());
      for (std::size_t t = 0; t < argmax.size(); ++t) {
        if (gaps.at(t) <= (suffix.empty() ? 2 * max : 0.1)) continue;
        const float* row = &logits_[t * vocab_];
        BOOST_TEST(static_cast<std::size_t>(std::max_element(row, row + vocab_) - row) == argmax[t]);
      }
    }
  }

 private:
  float At(std::size_t position, std::size_t token) const { return logits_.at(position * vocab_ + token); }

  Json expected_;
  std::vector<inlay::TokenId> tokens_;
  std::size_t vocab_ = 0;
  std::vector<float> logits_;
};

BOOST_AUTO_TEST_SUITE(model_golden)

// All files of the folder whose family this version knows; the others are named.
std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  const auto directory = FixturePath("models");
  if (directory.empty()) return names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool IsKnown(const std::string& name, const Json& expected) {
  const std::string architecture = expected.at("arch").get<std::string>();
  if (inlay::FindFamily(architecture) != nullptr) return true;
  BOOST_TEST_MESSAGE("not run: " << name << " (" << architecture << ")");
  return false;
}

// GELU is compared with the exact one: llama.cpp's own is a table of 16-bit floats.
std::string SuffixFor(const Json& expected, const std::string& field) {
  return expected.contains(field + "_exact_gelu") ? "_exact_gelu" : "";
}

BOOST_AUTO_TEST_CASE(float_models) {
  const auto names = ModelNames();
  if (names.empty()) return Skip("model_golden/float_models");
  std::size_t tested = 0;
  for (const std::string& name : names) {
    const Json expected = ReadJson(FixturePath("models/" + name + ".json"));
    if (!expected.contains("logits_last") || !IsKnown(name, expected)) continue;
    Golden(FixturePath("models/" + name + ".gguf"), expected).Expect(name, SuffixFor(expected, "logits_last"), 2e-4, 5e-5);
    ++tested;
  }
  BOOST_TEST(tested >= 3u);
}

BOOST_AUTO_TEST_CASE(embeddings) {
  const auto names = ModelNames();
  if (names.empty()) return Skip("model_golden/embeddings");
  for (const std::string& name : names) {
    const Json expected = ReadJson(FixturePath("models/" + name + ".json"));
    if (!expected.contains("embedding") || !IsKnown(name, expected)) continue;
    const OpenedModel model = OpenModel(ReadBytes(FixturePath("models/" + name + ".gguf")));
    const auto tokens = expected.at("tokens").get<std::vector<inlay::TokenId>>();
    BOOST_TEST((model->config().pooling != inlay::Pooling::kNone));
    inlay::SessionOptions options{.context = tokens.size(), .batch = tokens.size(), .kv = inlay::KvType::kF32};
    AlignedBytes memory(Value(model->PlanFor(options)).session());
    inlay::Arena arena = Value(inlay::Arena::Create(memory));
    inlay::SequenceCache cache = Value(model->NewCache(options, arena));
    inlay::Workspace workspace = Value(model->NewWorkspace(options, arena));
    inlay::SerialExecutor serial;
    std::vector<float> found(model->config().dim);
    const auto compare = [&](const std::vector<float>& values, const Json& wanted, const std::string& what) {
      const auto numbers = wanted.get<std::vector<double>>();
      double largest = 0.0;
      BOOST_TEST(values.size() == numbers.size());
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(values[i]) - numbers[i]));
      }
      BOOST_TEST_MESSAGE(name << ", " << what << ": max " << largest);
      BOOST_TEST(largest <= 5e-5, name << ", " << what);
    };
    Value(inlay::EmbedSequence(*model, cache, workspace, tokens, model->config().pooling, found, serial));
    const std::string suffix = SuffixFor(expected, "embedding");
    compare(found, expected.at("embedding" + suffix), "embedding");
    cache.Truncate(0);
    const inlay::SequenceInput input{&cache, tokens, inlay::Outputs::kAll};
    const inlay::HiddenView hidden = Value(model->Embed({&input, 1}, workspace, serial));
    for (const auto& [position, row] : expected.at("token_embeddings" + suffix).items()) {
      const auto values = hidden.row(std::stoul(position));
      compare({values.begin(), values.end()}, row, "token " + position);
    }
  }
}

BOOST_AUTO_TEST_CASE(quantised_models) {
  struct File {
    std::string name;
    // Of the plain fields, whose activations llama.cpp rounds in its own way, and of those without rounding.
    double plain_max, plain_rms, float_max, float_rms;
  };
  constexpr double kOwn = 1.0, kOwnRms = 0.15;
  // Where BF16 is multiplied in pairs, its activations are rounded as llama.cpp rounds them.
  const std::vector<File> files = {
      {"f32", 2e-4, 5e-5, 2e-4, 5e-5},
      // llama.cpp's activations become 16 bits, ours stay at 32; or become integers, which must lose less than what it loses
      // (0.0073 and 0.0014, says the file).
      {"f16", 0.02, 0.005, kRoundsF16 ? 0.0073 : 2e-4, kRoundsF16 ? 0.0014 : 5e-5},
      kRoundsBF16 ? File{"bf16", 2e-4, 5e-5, 0.15, 0.03} : File{"bf16", 0.15, 0.03, 2e-4, 5e-5},
      // Blocks of 32: llama.cpp's activations have scales of 16 bits. Blocks of 256: it rounds exactly as we do.
      {"q8_0", 0.4, 0.1, kOwn, kOwnRms},
      {"q4_0", 0.4, 0.1, kOwn, kOwnRms},
      {"q4_1", 0.4, 0.1, kOwn, kOwnRms},
      {"q5_0", 0.4, 0.1, kOwn, kOwnRms},
      {"q5_1", 0.4, 0.1, kOwn, kOwnRms},
      {"iq4_nl", 0.4, 0.1, kOwn, kOwnRms},
      {"mxfp4", 0.4, 0.1, kOwn, kOwnRms},
      {"q2_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"q3_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"q4_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"q5_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"q6_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"iq4_xs", 1e-4, 1e-5, kOwn, kOwnRms},
      {"tq1_0", 1e-4, 1e-5, kOwn, kOwnRms},
      {"tq2_0", 1e-4, 1e-5, kOwn, kOwnRms},
  };
  for (const File& file : files) {
    const auto gguf = FixturePath("quants/llama_" + file.name + ".gguf");
    if (gguf.empty()) return Skip("model_golden/quantised_models");
    const Golden golden(gguf, ReadJson(FixturePath("quants/llama_" + file.name + ".json")));
    golden.Expect(file.name, "", file.plain_max, file.plain_rms);
    golden.Expect(file.name, "_f32_activations", file.float_max, file.float_rms);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
