// The model once more, in double precision and as its papers define it: what the library's logits are compared with.
//
// Shares nothing with the library but the scalar decoder of the weight types, which has tests of its own. Written to be
// read, not to be fast: one token at a time, every matrix dense, the whole history of keys and values kept.
#ifndef INLAY_TESTS_SUPPORT_REFERENCE_MODEL_HPP_
#define INLAY_TESTS_SUPPORT_REFERENCE_MODEL_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

// The oracle needs no speed, GCC 12 warns about Eigen's AVX-512 code, and without it this compiles in half the time. The
// build says so for all tests, as a program must have one Eigen.
#ifndef EIGEN_DONT_VECTORIZE
#define EIGEN_DONT_VECTORIZE
#endif
#include <Eigen/Dense>

#include "inlay/config/model_config.hpp"
#include "inlay/core/token.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/formats/float16.hpp"
#include "tests/support/random_model.hpp"

namespace inlay_test {

class ReferenceModel {
 public:
  using Vector = Eigen::VectorXd;
  using Matrix = Eigen::MatrixXd;

  ReferenceModel(const inlay::ModelConfig& config, const FileContents& file) : c_(config) {
    for (const FileTensor& tensor : file.tensors) tensors_[tensor.name] = Decode(tensor);
  }

  // Whether the inputs of each product are rounded as the weight's type does it (int8 in blocks of 32 or 256 values with one
  // scale each; BF16 for BF16); otherwise they stay as they are.
  void QuantizeActivations(bool on) { quantize_ = on; }

  // Positions that a session has room for: decides between LongRoPE's two sets of factors.
  void SetContext(std::size_t context) { context_ = context; }

  // Logits after each token: [tokens][vocab].
  std::vector<Vector> Logits(std::span<const inlay::TokenId> tokens) const {
    const std::string output = tensors_.contains("output.weight") ? "output.weight" : "token_embd.weight";
    std::vector<Vector> logits;
    for (const Vector& hidden : Hidden(tokens)) {
      Vector row = Multiply(output, hidden) / static_cast<double>(c_.logit_divisor);
      if (c_.output_bias) row += Row("output.bias");
      logits.push_back(Cap(row, static_cast<double>(c_.logit_softcap)));
    }
    return logits;
  }

  // What the head makes of a pooled vector: scores where it has labels or a square layer (BERT's, ModernBERT's and Qwen 3's
  // classifiers), else the projections of EmbeddingGemma.
  Vector Head(Vector x) const {
    if (tensors_.contains("dense_2.weight")) x = Mat("dense_2.weight") * x;
    if (tensors_.contains("dense_3.weight")) x = Mat("dense_3.weight") * x;
    if (tensors_.contains("cls.weight")) {
      x = AddBias(Mat("cls.weight") * x, "cls");
      x = c_.head.gelu ? Activate(inlay::Activation::kGelu, x) : Vector(x.array().tanh().matrix());
      if (tensors_.contains("cls.norm.weight")) {
        x = (x.array() - x.mean()).matrix().eval();
        x = Rms(x).cwiseProduct(Row("cls.norm.weight"));
      }
    }
    if (tensors_.contains("cls.output.weight")) x = AddBias(Mat("cls.output.weight") * x, "cls.output");
    return c_.head.softmax ? Softmax(x) : x;
  }

  // Hidden states after the last norm: [tokens][dim].
  std::vector<Vector> Hidden(std::span<const inlay::TokenId> tokens) const {
    std::vector<Vector> x;
    for (std::size_t t = 0; t < tokens.size(); ++t) x.push_back(Embedding(tokens[t], t));
    Pass pass;
    pass.keys.resize(c_.layers);
    pass.values.resize(c_.layers);
    for (std::size_t t = 0; c_.layer_input_dim != 0 && t < tokens.size(); ++t) pass.inputs.push_back(LayerInputs(tokens[t], x[t]));
    if (c_.streams.count != 0) {
      ThroughStreams(pass, x);
    } else {
      for (std::size_t l = 0; l < c_.layers; ++l) Layer(l, pass, x);
    }
    for (Vector& row : x) {
      if (tensors_.contains("output_norm.weight")) row = Norm(row, "output_norm");
    }
    return x;
  }

 private:
  // What layers leave for later ones, and what each gets besides the residual stream: [layers][tokens], [tokens].
  struct Pass {
    std::vector<std::vector<Vector>> keys, values;
    std::vector<Vector> inputs;
  };

  struct Tensor {
    std::vector<Matrix> matrices;  // one, or one per expert
    std::size_t block = 1;         // values per block of the weight type
    bool bf16 = false;             // whether that type is BF16
  };

  static Tensor Decode(const FileTensor& tensor) {
    const std::size_t cols = tensor.dims[0], rows = tensor.dims.size() > 1 ? tensor.dims[1] : 1;
    const std::size_t count = tensor.dims.size() > 2 ? tensor.dims[2] : 1;
    const std::size_t row_bytes = inlay::RowBytes(tensor.type(), cols);
    Tensor out;
    out.block = inlay::Info(tensor.type()).block_values;
    out.bf16 = tensor.type() == inlay::WeightType::kBF16;
    std::vector<float> row(cols);
    for (std::size_t n = 0; n < count; ++n) {
      Matrix matrix(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(cols));
      for (std::size_t r = 0; r < rows; ++r) {
        inlay::DecodeRow(tensor.type(), &tensor.data[(n * rows + r) * row_bytes], cols, row.data());
        for (std::size_t i = 0; i < cols; ++i) {
          matrix(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(i)) = static_cast<double>(row[i]);
        }
      }
      out.matrices.push_back(std::move(matrix));
    }
    return out;
  }

  const Matrix& Mat(const std::string& name) const { return tensors_.at(name).matrices[0]; }

  Vector Multiply(const std::string& name, const Vector& x, std::size_t expert = 0) const {
    const Tensor& tensor = tensors_.at(name);
    if (quantize_ && tensor.bf16) {
      return tensor.matrices[expert] * x.unaryExpr([](double value) {
        return static_cast<double>(inlay::BF16ToF32(inlay::F32ToBF16(static_cast<float>(value))));
      });
    }
    if (!quantize_ || tensor.block == 1) return tensor.matrices[expert] * x;
    Vector rounded = x;
    for (Eigen::Index at = 0; at < x.size(); at += static_cast<Eigen::Index>(tensor.block)) {
      auto block = rounded.segment(at, static_cast<Eigen::Index>(tensor.block));
      const double scale = block.cwiseAbs().maxCoeff() / 127.0;
      if (scale != 0.0) block = (block / scale).array().rint().matrix() * scale;
    }
    return tensor.matrices[expert] * rounded;
  }

  Vector Row(const std::string& name, Eigen::Index index = 0) const { return Mat(name).row(index).transpose(); }

  Vector AddBias(Vector x, const std::string& name, std::size_t expert = 0) const {
    if (tensors_.contains(name + ".bias")) x += Row(name + ".bias", static_cast<Eigen::Index>(expert));
    return x;
  }

  Vector Rms(const Vector& x) const {
    return x / std::sqrt(x.squaredNorm() / static_cast<double>(x.size()) + static_cast<double>(c_.norm_epsilon));
  }

  // Zhang and Sennrich 2019, or Ba, Kiros and Hinton 2016.
  Vector Norm(const Vector& x, const std::string& name) const {
    const Vector weight = Row(name + ".weight");
    if (c_.norm.kind == inlay::NormKind::kRms) return Rms(x).cwiseProduct(weight);
    const Vector centered = (x.array() - x.mean()).matrix();
    return AddBias(Rms(centered).cwiseProduct(weight), name);
  }

  static Vector Cap(const Vector& x, double cap) { return cap == 0.0 ? x : ((x / cap).array().tanh() * cap).matrix(); }

  Vector Embedding(inlay::TokenId token, std::size_t position) const {
    Vector x = Row("token_embd.weight", token) * static_cast<double>(c_.embedding_scale);
    if (c_.token_types != 0) x += Row("token_types.weight");
    if (c_.learned_positions) x += Row("position_embd.weight", static_cast<Eigen::Index>(position));
    return c_.norm.embedding ? Norm(x, "token_embd_norm") : x;
  }

  // Gemma 3n's and Gemma 4's reference code: what a token gives to each layer, one after the other.
  Vector LayerInputs(inlay::TokenId token, const Vector& x) const {
    const Eigen::Index width = c_.layer_input_dim;
    Vector all = Multiply("per_layer_model_proj.weight", x) / std::sqrt(static_cast<double>(c_.dim));
    for (Eigen::Index at = 0; at < all.size(); at += width) {
      all.segment(at, width) = Norm(all.segment(at, width), "per_layer_proj_norm").eval();
    }
    return (all + std::sqrt(static_cast<double>(width)) * Row("per_layer_token_embd.weight", token)) / std::sqrt(2.0);
  }
  Vector OfLayerInput(const std::string& block, std::size_t l, const Vector& inputs, const Vector& x) const {
    const Vector gate = Activate(c_.activation, Multiply(block + "inp_gate.weight", x));
    const Eigen::Index width = c_.layer_input_dim;
    return Norm(Multiply(block + "proj.weight", gate.cwiseProduct(inputs.segment(static_cast<Eigen::Index>(l) * width, width))),
                block + "post_norm");
  }

  // AltUp (Baykal et al. 2023) as in Gemma 3n's reference code, token by token but for the layer itself.
  void ThroughStreams(Pass& pass, std::vector<Vector>& x) const {
    const std::size_t count = c_.streams.count;
    const auto project = [&](const std::string& name, std::size_t i, const Vector& from, const Vector& like) -> Vector {
      const Vector y = Multiply(name, from, i - 1);
      return y * (like.norm() / y.norm());
    };
    const auto kinds = [&](const std::string& block, const Vector& from) -> Vector {
      const Vector scores = Mat(block + "altup_router.weight") * Norm(from, block + "altup_router_norm");
      return (scores / static_cast<double>(c_.dim)).array().tanh().matrix();
    };
    std::vector<std::vector<Vector>> streams(x.size());  // [tokens][count]
    for (std::size_t t = 0; t < x.size(); ++t) {
      streams[t] = {x[t]};
      for (std::size_t i = 1; i < count; ++i) streams[t].push_back(project("altup_proj.weight", i, x[t], x[t]));
    }
    for (std::size_t l = 0; l < c_.layers; ++l) {
      const std::string block = "blk." + std::to_string(l) + ".";
      for (std::size_t t = 0; t < x.size(); ++t) {
        const Vector mix = Mat(block + "altup_predict_coef.weight") * kinds(block, streams[t][0]);
        std::vector<Vector> predicted = streams[t];
        for (std::size_t i = 0; i < count; ++i) {
          for (std::size_t k = 0; k < count; ++k) predicted[i] += mix(static_cast<Eigen::Index>(i * count + k)) * streams[t][k];
        }
        streams[t] = predicted;
        x[t] = predicted[0];
      }
      Layer(l, pass, x);
      for (std::size_t t = 0; t < x.size(); ++t) {
        const Vector more = Mat(block + "altup_correct_coef.weight") * kinds(block, x[t]), change = x[t] - streams[t][0];
        for (std::size_t i = 0; i < count; ++i) streams[t][i] += (1.0 + more(static_cast<Eigen::Index>(i))) * change;
        const Vector first = streams[t][0].cwiseProduct(Row(block + "altup_correct_scale.weight"));
        const Vector input = OfLayerInput(block, l, pass.inputs[t], first);
        for (std::size_t i = 1; i < count; ++i) streams[t][i] += input;
      }
    }
    for (std::size_t t = 0; t < x.size(); ++t) {
      x[t] = streams[t][0];
      for (std::size_t i = 1; i < count; ++i) x[t] += project("altup_unembd_proj.weight", i, streams[t][i], streams[t][0]);
      x[t] /= static_cast<double>(count);
    }
  }

  // One layer, for all tokens: x [tokens][dim] becomes the next layer's input.
  void Layer(std::size_t l, Pass& pass, std::vector<Vector>& x) const {
    using Placement = inlay::NormPlacement;
    const std::string block = "blk." + std::to_string(l) + ".";
    const bool sums = c_.norm.placement == Placement::kResidual;
    const auto before = [&](const Vector& row, const std::string& name) {
      return tensors_.contains(block + name + ".weight") ? Norm(row, block + name) : row;
    };
    const auto add = [&](const Vector& row, const Vector& branch, const std::string& name) -> Vector {
      if (sums) return Norm(row + branch, block + name);
      const bool post = c_.norm.placement != Placement::kPre;
      return row + static_cast<double>(c_.residual_scale) * (post ? Norm(branch, block + name) : branch);
    };
    const bool pre = c_.norm.placement == Placement::kPre || c_.norm.placement == Placement::kSandwich;
    const std::string ffn_norm = c_.architecture == inlay::Architecture::kGptOss ? "post_attention_norm" : "ffn_norm";
    // Layers at the end use the keys and values of the last layer of their kind that has some.
    std::size_t source = l;
    if (l + c_.attention.shared_layers >= c_.layers) {
      source = c_.layers - c_.attention.shared_layers - 1;
      while (IsGlobal(source) != IsGlobal(l)) --source;
    }
    std::vector<Vector> queries, bypass;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Vector h = pre ? before(x[t], "attn_norm") : x[t];
      queries.push_back(Finish(Part(block, 'q', h), block + "attn_q_norm.weight", c_.heads, t, l));
      if (HasTemperature(l)) queries.back() *= Temperature(t);
      if (c_.streams.count != 0) {  // LAuReL (Menghani et al. 2024)
        const Vector low = Multiply(block + "laurel_l.weight", h);
        bypass.push_back(h + Norm(Multiply(block + "laurel_r.weight", low), block + "laurel_post_norm"));
      }
      if (source != l) continue;
      const Vector keys = Part(block, 'k', h);
      pass.keys[l].push_back(Finish(keys, block + "attn_k_norm.weight", KvHeads(l), t, l));
      pass.values[l].push_back(tensors_.contains(block + "attn_v.weight") || !c_.attention.value_norm ? Part(block, 'v', h) : keys);
      for (Eigen::Index at = 0; c_.attention.value_norm && at < pass.values[l][t].size(); at += HeadDim(l)) {
        pass.values[l][t].segment(at, HeadDim(l)) = Rms(pass.values[l][t].segment(at, HeadDim(l))).eval();
      }
    }
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Vector mixed = Attention(block, queries[t], pass.keys[source], pass.values[source], t, l);
      const Vector attended = AddBias(Multiply(block + "attn_output.weight", mixed), block + "attn_output");
      const Vector parallel = x[t];
      x[t] = add(x[t], attended, sums ? "attn_output_norm" : "post_attention_norm");
      if (c_.streams.count != 0) x[t] = (x[t] + bypass[t]) / std::sqrt(2.0);
      Vector branch;
      if (c_.expert.beside_dense && LayerHasExperts(c_, l)) {
        const Vector scaled = Rms(x[t]).cwiseProduct(Row(block + "ffn_gate_inp.scale")) / std::sqrt(static_cast<double>(c_.dim));
        branch = Norm(Network(block, "", Norm(x[t], block + "ffn_norm"), 0), block + "post_ffw_norm_1") +
                 Norm(Experts(block, Norm(x[t], block + "pre_ffw_norm_2"), scaled), block + "post_ffw_norm_2");
      } else {
        branch = FeedForward(block, pre ? before(c_.parallel_residual ? parallel : x[t], ffn_norm) : x[t], l);
      }
      x[t] = add(x[t], branch, sums ? "layer_output_norm" : "post_ffw_norm");
      if (c_.streams.count != 0) continue;
      if (c_.layer_input_dim != 0) x[t] += OfLayerInput(block, l, pass.inputs[t], x[t]);
      if (c_.layer_scale) x[t] *= Row(block + "layer_output_scale.weight")(0);
    }
  }

  // Queries, keys or values, which some files store one after the other in one tensor.
  Vector Part(const std::string& block, char part, const Vector& h) const {
    const Eigen::Index q = c_.heads * c_.head_dim, k = c_.kv_heads * c_.head_dim, v = c_.kv_heads * ValueDim();
    if (!tensors_.contains(block + "attn_qkv.weight")) {
      const std::string name = block + "attn_" + part;
      return AddBias(Multiply(name + ".weight", h), name);
    }
    const Vector all = AddBias(Multiply(block + "attn_qkv.weight", h), block + "attn_qkv");
    return part == 'q' ? all.segment(0, q) : part == 'k' ? all.segment(q, k) : all.segment(q + k, v);
  }

  std::uint32_t ValueDim() const { return c_.value_dim == 0 ? c_.head_dim : c_.value_dim; }
  bool IsNarrow(std::size_t l) const { return c_.local.head_dim != 0 && !IsGlobal(l); }
  std::uint32_t HeadDim(std::size_t l) const { return IsNarrow(l) ? c_.local.head_dim : c_.head_dim; }
  std::uint32_t ValueDim(std::size_t l) const { return IsNarrow(l) ? c_.local.head_dim : ValueDim(); }
  std::uint32_t KvHeads(std::size_t l) const { return IsNarrow(l) ? c_.local.kv_heads : c_.kv_heads; }
  std::uint32_t RopeDim(bool global) const { return c_.local.head_dim != 0 && !global ? c_.local.rope_dim : c_.rope_dim; }
  bool IsGlobal(std::size_t l) const { return c_.window == 0 || c_.attention.global.Has(l); }
  bool IsRotated(std::size_t l) const { return !c_.rope.unrotated.Has(l); }
  bool HasTemperature(std::size_t l) const {
    return c_.attention.temperature != 0.0f && !(c_.attention.temperature_unrotated && IsRotated(l));
  }
  double Temperature(std::size_t position) const {
    const double periods = std::floor((static_cast<double>(position) + static_cast<double>(c_.attention.temperature_offset)) /
                                      c_.attention.temperature_length);
    return std::log(periods + 1.0) * static_cast<double>(c_.attention.temperature) + 1.0;
  }

  // What is done to queries and keys before they are compared: norms and rotation.
  Vector Finish(Vector x, const std::string& norm, std::size_t heads, std::size_t position, std::size_t l) const {
    const auto head = [&](std::size_t h) { return x.segment(static_cast<Eigen::Index>(h * HeadDim(l)), HeadDim(l)); };
    if (c_.attention.qk_norm == inlay::QkNorm::kWidth) x = Rms(x).cwiseProduct(Row(norm));
    for (std::size_t h = 0; h < heads; ++h) {
      if (c_.attention.qk_norm == inlay::QkNorm::kHead) head(h) = Rms(head(h)).cwiseProduct(Row(norm)).eval();
    }
    if (IsRotated(l)) Rotate(x, heads, HeadDim(l), position, IsGlobal(l));
    for (std::size_t h = 0; h < heads; ++h) {
      if (c_.attention.qk_norm == inlay::QkNorm::kUnweighted && IsRotated(l)) head(h) = Rms(head(h)).eval();
    }
    return x;
  }

  // Radians per position of pair i, and the factor on both of its elements.
  std::pair<double, double> Frequency(std::size_t i, bool global) const {
    const double index = static_cast<double>(i), dim = RopeDim(global);
    if (!global && c_.rope.local_base != 0.0f) {
      return {std::pow(static_cast<double>(c_.rope.local_base), -2.0 * index / dim), 1.0};
    }
    const double base = static_cast<double>(c_.rope_base), scale = static_cast<double>(c_.rope_scale);
    const double frequency = std::pow(base, -2.0 * index / dim);
    double factor = static_cast<double>(c_.rope.attention_factor);
    const auto column = static_cast<Eigen::Index>(i);
    switch (c_.rope_scaling) {
      case inlay::RopeScaling::kNone: break;
      case inlay::RopeScaling::kLinear: return {frequency / scale, factor};
      case inlay::RopeScaling::kFactors: return {frequency / Mat("rope_freqs.weight")(0, column), factor};
      case inlay::RopeScaling::kLongRope: {
        const bool is_long = context_ > c_.rope.original_context;
        return {frequency / Mat(is_long ? "rope_factors_long.weight" : "rope_factors_short.weight")(0, column), factor};
      }
      case inlay::RopeScaling::kYarn: {
        // Peng et al. 2023 as in the published code: a ramp over the pairs between those that turn beta_fast times and
        // those that turn beta_slow times in the original context.
        const auto pair_of = [&](double turns) {
          return dim * std::log(c_.rope.original_context / (turns * 2.0 * std::acos(-1.0))) / (2.0 * std::log(base));
        };
        const double low = std::max(std::floor(pair_of(static_cast<double>(c_.rope.beta_fast))), 0.0);
        const double high = std::min(std::ceil(pair_of(static_cast<double>(c_.rope.beta_slow))), dim - 1.0);
        const double ramp = std::min(1.0, std::max(0.0, (index - low) / std::max(high - low, 0.001)));
        const auto magnitude = [&](double m) { return scale <= 1.0 ? 1.0 : 0.1 * m * std::log(scale) + 1.0; };
        factor *= magnitude(1.0) / magnitude(static_cast<double>(c_.rope.log_multiplier));
        return {frequency / scale * ramp + frequency * (1.0 - ramp), factor};
      }
    }
    return {frequency, factor};
  }

  // Su et al. 2021: each head turns in pairs, of neighbours or of elements half the rotated width apart.
  void Rotate(Vector& x, std::size_t heads, std::size_t head_dim, std::size_t position, bool global) const {
    const std::size_t rope_dim = RopeDim(global);
    const bool neighbours = c_.rope.style == inlay::RopeStyle::kPairs;
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t i = 0; i < rope_dim / 2; ++i) {
        const auto [frequency, factor] = Frequency(i, global);
        const double angle = static_cast<double>(position) * frequency;
        const std::size_t start = h * head_dim;
        double& a = x(static_cast<Eigen::Index>(start + (neighbours ? 2 * i : i)));
        double& b = x(static_cast<Eigen::Index>(start + (neighbours ? 2 * i + 1 : i + rope_dim / 2)));
        const double turned = factor * (a * std::cos(angle) - b * std::sin(angle));
        b = factor * (a * std::sin(angle) + b * std::cos(angle));
        a = turned;
      }
    }
  }

  // Whether a query at position q sees the key at position k.
  bool Sees(std::size_t q, std::size_t k, std::size_t l) const {
    if (c_.attention.causal && k > q) return false;
    if (IsGlobal(l)) return true;
    switch (c_.attention.window_kind) {
      case inlay::WindowKind::kSliding: return k + c_.window > q;
      case inlay::WindowKind::kChunked: return k / c_.window == q / c_.window;
      case inlay::WindowKind::kSymmetric: return (q > k ? q - k : k - q) <= c_.window / 2;
    }
    return true;
  }

  // Grouped queries (Ainslie et al. 2023): neighbouring query heads share a key/value head.
  Vector Attention(const std::string& block, const Vector& q, const std::vector<Vector>& keys,
                   const std::vector<Vector>& values, std::size_t position, std::size_t l) const {
    const auto d = static_cast<Eigen::Index>(HeadDim(l)), dv = static_cast<Eigen::Index>(ValueDim(l));
    const std::size_t group = c_.heads / KvHeads(l);
    const double scale = c_.attention.scale != 0.0f ? static_cast<double>(c_.attention.scale)
                                                    : 1.0 / std::sqrt(static_cast<double>(HeadDim(l)));
    std::vector<std::size_t> seen;
    for (std::size_t p = 0; p < keys.size(); ++p) {
      if (Sees(position, p, l)) seen.push_back(p);
    }
    Vector out = Vector::Zero(static_cast<Eigen::Index>(c_.heads) * dv);
    for (std::size_t h = 0; h < c_.heads; ++h) {
      const Eigen::Index at = static_cast<Eigen::Index>(h), kv = static_cast<Eigen::Index>(h / group);
      Vector scores(static_cast<Eigen::Index>(seen.size()) + (c_.attention.sinks ? 1 : 0));
      for (std::size_t i = 0; i < seen.size(); ++i) {
        scores(static_cast<Eigen::Index>(i)) = q.segment(at * d, d).dot(keys[seen[i]].segment(kv * d, d)) * scale;
      }
      scores = Cap(scores, static_cast<double>(c_.attention.softcap));
      if (c_.attention.sinks) scores(scores.size() - 1) = Mat(block + "attn_sinks.weight")(0, at);
      const Vector weights = Softmax(scores);
      for (std::size_t i = 0; i < seen.size(); ++i) {
        out.segment(at * dv, dv) += weights(static_cast<Eigen::Index>(i)) * values[seen[i]].segment(kv * dv, dv);
      }
    }
    return out;
  }

  static Vector Softmax(const Vector& scores) {
    const Vector e = (scores.array() - scores.maxCoeff()).exp().matrix();
    return e / e.sum();
  }
  static Vector Sigmoid(const Vector& x) { return (1.0 / (1.0 + (-x.array()).exp())).matrix(); }

  Vector FeedForward(const std::string& block, const Vector& h, std::size_t l) const {
    if (!LayerHasExperts(c_, l)) return Network(block, "", h, 0, c_.sparse_layers.Has(l));
    Vector out = Experts(block, h, h);
    if (c_.expert.shared_ffn_dim != 0) {
      double weight = 1.0;
      if (c_.expert.shared_gate) weight = 1.0 / (1.0 + std::exp(-Row(block + "ffn_gate_inp_shexp.weight").dot(h)));
      out += weight * Network(block, "_shexp", h, 0);
    }
    return out;
  }

  // Mixtral (Jiang et al. 2024) and what came after: which experts, and with which weights.
  Vector Experts(const std::string& block, const Vector& h, const Vector& router_input) const {
    const Vector scores = AddBias(Multiply(block + "ffn_gate_inp.weight", router_input), block + "ffn_gate_inp");
    Vector weights = scores;
    if (c_.expert.router == inlay::Router::kSoftmaxOfAll) weights = Softmax(scores);
    if (c_.expert.router == inlay::Router::kSigmoid) weights = Sigmoid(scores);
    const Vector ranks = c_.expert.selection_bias ? Vector(weights + Row(block + "exp_probs_b.bias")) : scores;
    std::vector<std::size_t> order(c_.experts);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return ranks(static_cast<Eigen::Index>(a)) > ranks(static_cast<Eigen::Index>(b));
    });
    order.resize(c_.experts_per_token);
    Vector chosen(static_cast<Eigen::Index>(order.size()));
    for (std::size_t i = 0; i < order.size(); ++i) {
      chosen(static_cast<Eigen::Index>(i)) = weights(static_cast<Eigen::Index>(order[i]));
    }
    if (c_.expert.router == inlay::Router::kSoftmaxOfChosen) chosen = Softmax(chosen);
    if (c_.expert.normalized) chosen /= chosen.sum();
    chosen *= static_cast<double>(c_.expert.scale);
    Vector out = Vector::Zero(c_.dim);
    for (std::size_t i = 0; i < order.size(); ++i) {
      double weight = chosen(static_cast<Eigen::Index>(i));
      if (c_.expert.output_scale) weight *= Row(block + "ffn_down_exps.scale")(static_cast<Eigen::Index>(order[i]));
      if (c_.expert.scales_input) {
        out += Network(block, "_exps", weight * h, order[i]);
      } else {
        out += weight * Network(block, "_exps", h, order[i]);
      }
    }
    return out;
  }

  static Vector Activate(inlay::Activation activation, const Vector& x) {
    const auto a = x.array();
    switch (activation) {
      case inlay::Activation::kSilu: return (a / (1.0 + (-a).exp())).matrix();
      case inlay::Activation::kGelu:
        return (0.5 * a * (1.0 + (std::sqrt(2.0 / std::acos(-1.0)) * (a + 0.044715 * a.cube())).tanh())).matrix();
      case inlay::Activation::kGeluErf:
        return x.unaryExpr([](double v) { return 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0))); });
      case inlay::Activation::kReluSquared: return a.max(0.0).square().matrix();
      case inlay::Activation::kClampedSilu: break;  // has two inputs
    }
    return x;
  }

  // GLU variants (Shazeer 2020), or a plain network without a gate. `kind` is what the names of the tensors end with.
  Vector Network(const std::string& block, const std::string& kind, const Vector& h, std::size_t expert,
                 bool sparse = false) const {
    const auto product = [&](const char* name, const Vector& x) {
      const std::string full = block + name + kind;
      return AddBias(Multiply(full + ".weight", x, expert), full, expert);
    };
    Vector up;
    if (tensors_.contains(block + "ffn_up" + kind + ".weight")) up = product("ffn_up", h);
    Vector hidden;
    if (!c_.gated) {
      hidden = Activate(c_.activation, up);
    } else {
      Vector gate;
      if (tensors_.contains(block + "ffn_gate" + kind + ".weight")) {
        gate = product("ffn_gate", h);
        if (sparse) {
          const double n = static_cast<double>(gate.size()), mean = gate.mean();
          const double deviation = std::sqrt((gate.array() - mean).square().sum() / (n - 1.0));
          gate = (gate.array() - mean - static_cast<double>(c_.sparsity) * deviation).max(0.0).matrix().eval();
        }
      } else if (tensors_.contains(block + "ffn_gate_up" + kind + ".weight")) {
        const Vector both = product("ffn_gate_up", h);
        gate = both.head(both.size() / 2);
        up = both.tail(both.size() / 2);
      } else {
        const Eigen::Index half = up.size() / 2;
        gate = up.head(half);
        up = up.tail(half).eval();
      }
      if (c_.activation == inlay::Activation::kClampedSilu) {
        // gpt-oss's reference code.
        const Eigen::ArrayXd g = gate.array().min(7.0), u = up.array().min(7.0).max(-7.0);
        hidden = (g / (1.0 + (-1.702 * g).exp()) * (u + 1.0)).matrix();
      } else {
        hidden = Activate(c_.activation, gate).cwiseProduct(up);
      }
    }
    return product("ffn_down", hidden);
  }

  inlay::ModelConfig c_;
  std::map<std::string, Tensor> tensors_;
  bool quantize_ = false;
  std::size_t context_ = 0;
};

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_REFERENCE_MODEL_HPP_
