// The models of hybrid_models.hpp once more, in double precision and from their papers' equations: short convolutions,
// gated DeltaNet and Mamba-2 token by token, latent attention with every key and value written out. Takes its numbers from
// the file's keys and shapes, and shares nothing with the library but the scalar decoder of the weight types.
#ifndef INLAY_TESTS_SUPPORT_HYBRID_REFERENCE_HPP_
#define INLAY_TESTS_SUPPORT_HYBRID_REFERENCE_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#ifndef EIGEN_DONT_VECTORIZE
#define EIGEN_DONT_VECTORIZE
#endif
#include <Eigen/Dense>

#include "inlay/core/token.hpp"
#include "inlay/formats/codec.hpp"
#include "tests/support/random_model.hpp"

namespace inlay_test {

class HybridReference {
 public:
  using Vector = Eigen::VectorXd;
  using Matrix = Eigen::MatrixXd;
  using Index = Eigen::Index;

  explicit HybridReference(const FileContents& file) : file_(file) {
    for (const FileTensor& tensor : file.tensors) tensors_[tensor.name] = Decode(tensor);
    for (const FileValue& value : file.metadata) {
      if (value.key == "general.architecture") architecture_ = std::get<std::string>(value.value);
    }
    epsilon_ = Number("attention.layer_norm_rms_epsilon", 0.0);
  }

  // Logits after each token: [tokens][vocab].
  std::vector<Vector> Logits(std::span<const inlay::TokenId> tokens) {
    layers_.assign(Size("block_count"), {});
    std::vector<Vector> logits;
    const double residual = Number("residual_scale", 1.0);
    for (const inlay::TokenId token : tokens) {
      Vector x = Mat("token_embd.weight").row(token).transpose() * Number("embedding_scale", 1.0);
      for (std::size_t l = 0; l < layers_.size(); ++l) {
        block_ = "blk." + std::to_string(l) + ".";
        const Vector h = Norm(x, block_ + "attn_norm.weight");
        x += residual * (Has("attn_kv_a_mqa.weight")         ? Latent(layers_[l], h)
                         : Has("shortconv.conv.weight")      ? Convolution(layers_[l], h)
                         : Has("ssm_in.weight")              ? Space(layers_[l], h)
                         : Has("ssm_conv1d.weight")          ? Delta(layers_[l], h)
                                                             : Attention(layers_[l], h));
        const std::string norm = Has("ffn_norm.weight") ? "ffn_norm.weight" : "post_attention_norm.weight";
        if (Has(norm)) x += residual * FeedForward(Norm(x, block_ + norm));
      }
      const std::string last = tensors_.contains("output_norm.weight") ? "output_norm.weight" : "token_embd_norm.weight";
      logits.push_back(Mat("output.weight") * Norm(x, last) / Number("logit_scale", 1.0));
    }
    return logits;
  }

 private:
  // Whatever a layer remembers: keys and values, or the inputs of its convolution and its heads' states.
  struct Layer {
    std::vector<Vector> keys, values, inputs;
    std::vector<Matrix> states;
  };

  static std::vector<Matrix> Decode(const FileTensor& tensor) {
    const std::size_t cols = tensor.dims[0], rows = tensor.dims.size() > 1 ? tensor.dims[1] : 1;
    const std::size_t count = tensor.dims.size() > 2 ? tensor.dims[2] : 1;
    const std::size_t row_bytes = inlay::RowBytes(tensor.type(), cols);
    std::vector<Matrix> out;
    std::vector<float> row(cols);
    for (std::size_t n = 0; n < count; ++n) {
      Matrix matrix(static_cast<Index>(rows), static_cast<Index>(cols));
      for (std::size_t r = 0; r < rows; ++r) {
        inlay::DecodeRow(tensor.type(), &tensor.data[(n * rows + r) * row_bytes], cols, row.data());
        for (std::size_t i = 0; i < cols; ++i) {
          matrix(static_cast<Index>(r), static_cast<Index>(i)) = static_cast<double>(row[i]);
        }
      }
      out.push_back(std::move(matrix));
    }
    return out;
  }

  bool Has(const std::string& name) const { return tensors_.contains(block_ + name); }
  const Matrix& Mat(const std::string& name, std::size_t index = 0) const { return tensors_.at(name)[index]; }
  const Matrix& In(const std::string& name, std::size_t index = 0) const { return Mat(block_ + name, index); }
  // A tensor's numbers in the file's order.
  Vector Flat(const std::string& name) const { return In(name).transpose().reshaped(); }

  double Number(const std::string& key, double otherwise) const {
    for (const FileValue& value : file_.metadata) {
      if (value.key != architecture_ + "." + key) continue;
      return std::visit(
          [&]<class T>(const T& number) {
            if constexpr (std::is_arithmetic_v<T>) return static_cast<double>(number);
            return otherwise;
          },
          value.value);
    }
    return otherwise;
  }
  std::size_t Size(const std::string& key) const { return static_cast<std::size_t>(Number(key, 0.0)); }
  Index Dim(const std::string& key) const { return static_cast<Index>(Number(key, 0.0)); }

  Vector Norm(const Vector& x, const Vector& weight) const {
    return x.cwiseProduct(weight) / std::sqrt(x.squaredNorm() / static_cast<double>(x.size()) + epsilon_);
  }
  Vector Norm(const Vector& x, const std::string& weight) const { return Norm(x, Vector(Mat(weight).row(0).transpose())); }
  static double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
  static double SoftPlus(double x) { return std::log(1.0 + std::exp(x)); }
  static Vector Silu(const Vector& x) { return x.unaryExpr([](double v) { return v * Sigmoid(v); }); }
  static Vector Softmax(const Vector& scores) {
    const Vector e = (scores.array() - scores.maxCoeff()).exp().matrix();
    return e / e.sum();
  }

  // Turns x, whose elements i and i + distance (or 2 i and 2 i + 1) are pairs, by the position.
  void Rotate(Eigen::Ref<Vector> x, std::size_t position, bool halves) const {
    const Index half = x.size() / 2;
    for (Index i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) *
                           std::pow(Number("rope.freq_base", 10000.0), -static_cast<double>(i) / static_cast<double>(half));
      double& a = x(halves ? i : 2 * i);
      double& b = x(halves ? i + half : 2 * i + 1);
      const double turned = a * std::cos(angle) - b * std::sin(angle);
      b = a * std::sin(angle) + b * std::cos(angle);
      a = turned;
    }
  }

  // One head: softmax over all positions so far.
  static Vector Mix(const Vector& query, const std::vector<Vector>& keys, const std::vector<Vector>& values, Index key_at,
                    Index value_at, Index value_dim, double scale) {
    Vector scores(static_cast<Index>(keys.size()));
    for (std::size_t p = 0; p < keys.size(); ++p) {
      scores(static_cast<Index>(p)) = scale * query.dot(keys[p].segment(key_at, query.size()));
    }
    const Vector weights = Softmax(scores);
    Vector out = Vector::Zero(value_dim);
    for (std::size_t p = 0; p < keys.size(); ++p) {
      out += weights(static_cast<Index>(p)) * values[p].segment(value_at, value_dim);
    }
    return out;
  }

  Vector Attention(Layer& layer, const Vector& h) const {
    const Index heads = Dim("attention.head_count"), kv_rows = In("attn_k.weight").rows();
    const Index d = In("attn_output.weight").cols() / heads, kv_heads = kv_rows / d;
    const bool gated = In("attn_q.weight").rows() == 2 * heads * d;  // Qwen: each head's query, then its gate
    const bool halves = architecture_ != "granitehybrid";
    const bool rotated = architecture_ != "granitehybrid";
    const Index turned = rotated ? Dim("rope.dimension_count") : 0;
    const std::size_t position = layer.keys.size();
    const auto finish = [&](Vector head, const char* norm) {
      if (Has(norm)) head = Norm(head, block_ + norm);
      if (rotated) Rotate(head.head(turned), position, halves);
      return head;
    };
    const Vector q = In("attn_q.weight") * h;
    Vector k = In("attn_k.weight") * h;
    for (Index n = 0; n < kv_heads; ++n) k.segment(n * d, d) = finish(k.segment(n * d, d), "attn_k_norm.weight");
    layer.keys.push_back(k);
    layer.values.push_back(In("attn_v.weight") * h);
    const double scale = Number("attention.scale", 1.0 / std::sqrt(static_cast<double>(d)));
    Vector out(heads * d);
    for (Index n = 0; n < heads; ++n) {
      const Index at = n * d * (gated ? 2 : 1), kv = n / (heads / kv_heads) * d;
      out.segment(n * d, d) = Mix(finish(q.segment(at, d), "attn_q_norm.weight"), layer.keys, layer.values, kv, kv, d, scale);
      if (!gated) continue;
      for (Index i = 0; i < d; ++i) out(n * d + i) *= Sigmoid(q(at + d + i));
    }
    return In("attn_output.weight") * out;
  }

  // DeepSeek-AI 2024 (V2), section 2.1, with keys and values of every head written out.
  Vector Latent(Layer& layer, const Vector& h) const {
    const Index heads = Dim("attention.head_count"), rank = Dim("attention.kv_lora_rank");
    const Index turned = Dim("rope.dimension_count"), value_dim = In("attn_output.weight").cols() / heads;
    const std::size_t position = layer.keys.size();
    const Vector q = Has("attn_q_a.weight")
                         ? Vector(In("attn_q_b.weight") * Norm(In("attn_q_a.weight") * h, block_ + "attn_q_a_norm.weight"))
                         : Vector(In("attn_q.weight") * h);
    const Index key_dim = q.size() / heads, plain = key_dim - turned;
    const Vector down = In("attn_kv_a_mqa.weight") * h;
    const Vector latent = Norm(down.head(rank), block_ + "attn_kv_a_norm.weight");
    Vector shared = down.tail(turned);
    Rotate(shared, position, false);
    Vector k(heads * key_dim), v(heads * value_dim);
    for (Index n = 0; n < heads; ++n) {
      const std::size_t head = static_cast<std::size_t>(n);
      if (Has("attn_kv_b.weight")) {
        const Vector both = In("attn_kv_b.weight").middleRows(n * (plain + value_dim), plain + value_dim) * latent;
        k.segment(n * key_dim, plain) = both.head(plain);
        v.segment(n * value_dim, value_dim) = both.tail(value_dim);
      } else {
        k.segment(n * key_dim, plain) = In("attn_k_b.weight", head).transpose() * latent;
        v.segment(n * value_dim, value_dim) = In("attn_v_b.weight", head) * latent;
      }
      k.segment(n * key_dim + plain, turned) = shared;
    }
    layer.keys.push_back(k);
    layer.values.push_back(v);
    Vector out(heads * value_dim);
    for (Index n = 0; n < heads; ++n) {
      Vector query = q.segment(n * key_dim, key_dim);
      Rotate(query.tail(turned), position, false);
      out.segment(n * value_dim, value_dim) = Mix(query, layer.keys, layer.values, n * key_dim, n * value_dim, value_dim,
                                                  1.0 / std::sqrt(static_cast<double>(key_dim)));
    }
    return In("attn_output.weight") * out;
  }

  // The newest output of a causal convolution over all inputs so far.
  Vector Convolve(Layer& layer, const Vector& input, const std::string& weight) const {
    layer.inputs.push_back(input);
    const Matrix& taps = In(weight);
    Vector out = Vector::Zero(input.size());
    for (Index age = 0; age < taps.cols() && age < static_cast<Index>(layer.inputs.size()); ++age) {
      out += layer.inputs[layer.inputs.size() - 1 - static_cast<std::size_t>(age)].cwiseProduct(taps.col(taps.cols() - 1 - age));
    }
    return out;
  }

  Vector Convolution(Layer& layer, const Vector& h) const {
    const Index dim = h.size();
    const Vector bcx = In("shortconv.in_proj.weight") * h;
    const Vector conv = Convolve(layer, bcx.head(dim).cwiseProduct(bcx.tail(dim)), "shortconv.conv.weight");
    return In("shortconv.out_proj.weight") * conv.cwiseProduct(bcx.segment(dim, dim));
  }

  // Yang et al. 2024, equation 10: S_t = S_{t-1} (a_t (I - b_t k_t k_t^T)) + b_t v_t k_t^T.
  Vector Delta(Layer& layer, const Vector& h) const {
    const Index heads = Dim("ssm.time_step_rank"), groups = Dim("ssm.group_count"), key_dim = Dim("ssm.state_size");
    const Index inner = Dim("ssm.inner_size"), value_dim = inner / heads, per_group = heads / groups;
    const bool next = architecture_ == "qwen3next";
    const Vector conv = Silu(Convolve(layer, In("attn_qkv.weight") * h, "ssm_conv1d.weight"));
    const Vector gate = Silu(In("attn_gate.weight") * h);
    const Vector a_log = Flat("ssm_a"), bias = Flat("ssm_dt.bias");
    layer.states.resize(static_cast<std::size_t>(heads), Matrix::Zero(value_dim, key_dim));
    Vector out(inner);
    for (Index n = 0; n < heads; ++n) {
      const Index group = next ? n / per_group : n % groups;
      double beta = 0.0, alpha = 0.0;
      if (next) {
        const Vector ba = In("ssm_ba.weight") * h;
        beta = ba(group * 2 * per_group + n % per_group);
        alpha = ba(group * 2 * per_group + per_group + n % per_group);
      } else {
        beta = In("ssm_beta.weight").row(n).dot(h);
        alpha = In("ssm_alpha.weight").row(n).dot(h);
      }
      beta = Sigmoid(beta);
      const double decay = std::exp(a_log(n) * SoftPlus(alpha + bias(n)));
      const auto unit = [&](const Vector& x) { return Vector(x / std::sqrt(x.squaredNorm() + epsilon_)); };
      const Vector q = unit(conv.segment(group * key_dim, key_dim)) / std::sqrt(static_cast<double>(key_dim));
      const Vector k = unit(conv.segment((groups + group) * key_dim, key_dim));
      const Vector v = conv.segment(2 * groups * key_dim + n * value_dim, value_dim);
      Matrix& s = layer.states[static_cast<std::size_t>(n)];
      s = s * (decay * (Matrix::Identity(key_dim, key_dim) - beta * k * k.transpose())) + beta * v * k.transpose();
      const Vector result = s * q;
      out.segment(n * value_dim, value_dim) =
          Norm(result, block_ + "ssm_norm.weight").cwiseProduct(gate.segment(n * value_dim, value_dim));
    }
    return In("ssm_out.weight") * out;
  }

  // Dao and Gu 2024: S_t = exp(dt A) S_{t-1} + dt x_t B_t^T, y_t = S_t C_t + D x_t.
  Vector Space(Layer& layer, const Vector& h) const {
    const Index heads = Dim("ssm.time_step_rank"), groups = Dim("ssm.group_count"), key_dim = Dim("ssm.state_size");
    const Index inner = Dim("ssm.inner_size"), value_dim = inner / heads, width = inner + 2 * groups * key_dim;
    const Vector zxbcdt = In("ssm_in.weight") * h;
    const Vector conv = Silu(Convolve(layer, zxbcdt.segment(inner, width), "ssm_conv1d.weight") + Flat("ssm_conv1d.bias"));
    const Vector a = Flat("ssm_a"), d = Flat("ssm_d"), bias = Flat("ssm_dt.bias"), weight = Flat("ssm_norm.weight");
    layer.states.resize(static_cast<std::size_t>(heads), Matrix::Zero(value_dim, key_dim));
    Vector y(inner);
    for (Index n = 0; n < heads; ++n) {
      const Index group = n / (heads / groups);
      const double dt = SoftPlus(zxbcdt(inner + width + n) + bias(n));
      const Vector x = conv.segment(n * value_dim, value_dim);
      const Vector b = conv.segment(inner + group * key_dim, key_dim);
      const Vector c = conv.segment(inner + (groups + group) * key_dim, key_dim);
      Matrix& s = layer.states[static_cast<std::size_t>(n)];
      s = std::exp(dt * a(n)) * s + dt * x * b.transpose();
      y.segment(n * value_dim, value_dim) = s * c + d(n) * x;
    }
    y = y.cwiseProduct(Silu(zxbcdt.head(inner)));
    for (Index g = 0; g < groups; ++g) {
      const Index at = g * (inner / groups), count = inner / groups;
      y.segment(at, count) = Norm(y.segment(at, count), Vector(weight.segment(at, count)));
    }
    return In("ssm_out.weight") * y;
  }

  Vector Network(const std::string& suffix, const Vector& h, std::size_t expert = 0) const {
    return In("ffn_down" + suffix, expert) *
           Silu(In("ffn_gate" + suffix, expert) * h).cwiseProduct(In("ffn_up" + suffix, expert) * h);
  }

  Vector FeedForward(const Vector& h) const {
    if (!Has("ffn_gate_inp.weight")) return Network(".weight", h);
    Vector scores = In("ffn_gate_inp.weight") * h;
    const bool sigmoid = Number("expert_gating_func", 0.0) == 2.0;
    const bool all = architecture_ == "deepseek2" && !sigmoid;  // V2: the weights of the chosen do not sum to 1
    Vector weights = sigmoid ? Vector(scores.unaryExpr([](double x) { return Sigmoid(x); })) : Softmax(scores);
    Vector selection = weights;
    if (Has("exp_probs_b.bias")) selection += Flat("exp_probs_b.bias");
    const Index groups = Dim("expert_group_count"), used_groups = Dim("expert_group_used_count");
    if (groups > 1) {
      const Index size = selection.size() / groups;
      std::vector<double> sums;
      for (Index g = 0; g < groups; ++g) {
        std::vector<double> of_group(selection.data() + g * size, selection.data() + (g + 1) * size);
        std::sort(of_group.rbegin(), of_group.rend());
        sums.push_back(of_group[0] + of_group[1]);
      }
      std::vector<double> order = sums;
      std::sort(order.rbegin(), order.rend());
      for (Index g = 0; g < groups; ++g) {
        if (sums[static_cast<std::size_t>(g)] < order[static_cast<std::size_t>(used_groups - 1)]) {
          selection.segment(g * size, size).setConstant(-1e300);
        }
      }
    }
    std::vector<Index> chosen(static_cast<std::size_t>(selection.size()));
    std::iota(chosen.begin(), chosen.end(), Index{0});
    std::stable_sort(chosen.begin(), chosen.end(), [&](Index a, Index b) { return selection(a) > selection(b); });
    chosen.resize(Size("expert_used_count"));
    double sum = 0.0;
    for (const Index e : chosen) sum += weights(e);
    Vector out = Vector::Zero(h.size());
    for (const Index e : chosen) {
      const double weight = (all ? weights(e) : weights(e) / sum) * Number("expert_weights_scale", 1.0);
      out += weight * Network("_exps.weight", h, static_cast<std::size_t>(e));
    }
    if (Has("ffn_up_shexp.weight")) {
      const double gate = Has("ffn_gate_inp_shexp.weight") ? Sigmoid(Flat("ffn_gate_inp_shexp.weight").dot(h)) : 1.0;
      out += gate * Network("_shexp.weight", h);
    }
    return out;
  }

  FileContents file_;
  std::string architecture_, block_;
  std::map<std::string, std::vector<Matrix>> tensors_;
  std::vector<Layer> layers_;
  double epsilon_ = 0.0;
};

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_HYBRID_REFERENCE_HPP_
