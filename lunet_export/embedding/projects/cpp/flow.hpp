// An exported folder of lunet_export through ONNX Runtime's C++ wrapper.
#pragma once
#ifndef ORT_API_MANUAL_INIT
#define ORT_API_MANUAL_INIT  // the wrapper's first call comes after the check of the library's version
#endif
#include <onnxruntime_cxx_api.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace lunet_flow {

// One sentence for the user; code is the exit code: 2 bad input, 3 the runtime cannot do it, 4 the operating system.
struct Failure : std::runtime_error {
    Failure(int code, const std::string& message) : std::runtime_error(message), code(code) {}
    int code;
};

using Words = std::array<std::uint32_t, 4>;

inline Words philox(Words c, std::uint32_t k0, std::uint32_t k1) {
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
        const std::uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
        c = {std::uint32_t(p1 >> 32) ^ c[1] ^ k0, std::uint32_t(p1), std::uint32_t(p0 >> 32) ^ c[3] ^ k1,
             std::uint32_t(p0)};
    }
    return c;
}

// Words of columns 4 group .. 4 group + 3 of a row; the normal numbers of a row, by Box and Muller.
inline Words words(std::uint64_t seed, std::uint64_t row, std::uint32_t group) {
    return philox({group, std::uint32_t(row), std::uint32_t(row >> 32), 0}, std::uint32_t(seed),
                  std::uint32_t(seed >> 32));
}

template <class Number>
void normal(std::uint64_t seed, std::uint64_t row, std::span<Number> numbers) {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const Words w = words(seed, row, std::uint32_t(i / 4));
        const double radius = std::sqrt(-2 * std::log((w[i & 2] + 0.5) * 0x1p-32)),
                     angle = 6.283185307179586 * 0x1p-32 * w[(i & 2) + 1];
        numbers[i] = Number(radius * (i & 1 ? std::sin(angle) : std::cos(angle)));
    }
}

class Flow {
public:
    std::size_t dim = 0;
    nlohmann::json manifest;

    Flow(const std::string& folder, const std::string& provider) try : folder_(folder) {
        manifest = parse("manifest.json", read("manifest.json"));
        if (manifest.value("format", "") != "lunet_export" || manifest.value("format_version", 0) != 1)
            throw Failure(
                2, "Expected manifest.json of format \"lunet_export\", version 1; this is another file. Export again.");
        if (manifest.contains("classes") || manifest.at("dtype") != "float32")
            throw Failure(2, "Expected a folder with one float32 network; this one holds another kind. Export again.");
        dim = whole(manifest.at("model").at("dim"), "model.dim");
        batch_ = whole(manifest.at("batch").at(1), "batch");
        const auto& preprocessing = manifest.at("model").at("preprocessing");
        levels_ = preprocessing.is_null() ? 0.0f : preprocessing.at("levels").get<float>();
        if (const auto& model = manifest.at("model"); model.contains("domain") && !model.at("domain").is_null()) {
            low_ = borders(model.at("domain").at("low"), -INFINITY);
            high_ = borders(model.at("domain").at("high"), INFINITY);
            closed_ = model.at("domain").at("closed").get<bool>();
            for (std::size_t i = 0; i < dim; ++i)
                if (!(low_[i] < high_[i])) throw no_domain();
        }
        env_ = Ort::Env(ORT_LOGGING_LEVEL_FATAL, "lunet");
        density_ = open("density.onnx", provider);
        sampling_ = open("sampling.onnx", provider);
    } catch (const Ort::Exception& error) {
        throw refused("open the graphs", error);
    }

    // log p of rows x, nats, and their z. Rows outside the domain are refused, and such that overflow.
    std::pair<std::vector<float>, std::vector<float>> density(std::vector<float> x) {
        for (std::size_t i = 0; i < x.size(); ++i) {
            if (levels_ > 0 && !(x[i] >= 0 && x[i] < levels_))
                throw Failure(2, "Expected x in [0, " + std::to_string(int(levels_)) + "): grey level plus noise; " +
                                     place(i) + " is " + text(x[i]) + ".");
            if (!low_.empty()) step_inside(x, i);
        }
        auto found = run(density_, "x", x, {"log_prob", "z"}, {1, dim});
        return {std::move(found[0]), std::move(found[1])};
    }

    std::vector<float> decode(std::vector<float> z) { return std::move(run(sampling_, "z", z, {"x"}, {dim})[0]); }

    // Rows 0 .. rows - 1 of a seed, the same in every language.
    std::vector<float> sample(std::uint64_t seed, std::size_t rows) {
        std::vector<float> z(rows * dim);
        for (std::size_t row = 0; row < rows; ++row) normal(seed, row, std::span(z).subspan(row * dim, dim));
        return decode(std::move(z));
    }

    nlohmann::json vectors() const { return parse("vectors.json", verified("vectors.json")); }

private:
    std::string folder_;
    std::size_t batch_ = 0;  // the most rows of a run
    float levels_ = 0;
    std::vector<double> low_, high_;  // borders of the domain, infinite where there is none; empty: x may lie anywhere
    bool closed_ = false;             // the borders are part of it
    struct Checked {  // before the wrapper's objects: where it throws, none of theirs is there to be destroyed
        Checked() { refuse_old(); }
    } checked_;
    Ort::Env env_{nullptr};
    Ort::Session density_{nullptr}, sampling_{nullptr};

    // What ONNX Runtime says, of several lines the first.
    static Failure refused(const std::string& what, const Ort::Exception& error) {
        std::string said = error.what();
        said.resize(std::min(said.find_first_of("\r\n"), said.size()));
        said.resize(said.find_last_not_of(" .") + 1);
        return Failure(3, "Expected ONNX Runtime to " + what + "; it says: " + said + ".");
    }

    // An older library has no table of this header's version; the wrapper would call through a null pointer.
    static void refuse_old() {
        const std::string version = OrtGetApiBase()->GetVersionString();
        if (std::stoi(version.substr(version.find('.') + 1)) < ORT_API_VERSION)
            throw Failure(3, "Expected ONNX Runtime 1." + std::to_string(ORT_API_VERSION) +
                                 " or newer, as the headers; got " + version + ". Install a newer one.");
        Ort::InitApi(OrtGetApiBase()->GetApi(ORT_API_VERSION));
    }

    static std::size_t whole(const nlohmann::json& number, const char* place) {
        if (!number.is_number_integer() || number < 1 || number > 1000000)
            throw Failure(2, std::string("Expected a whole manifest.json; ") + place + " is wrong. Export again.");
        return number.get<std::size_t>();
    }

    std::vector<double> borders(const nlohmann::json& numbers, double none) const {
        std::vector<double> found;
        for (const auto& number : numbers) found.push_back(number.is_null() ? none : number.get<double>());
        if (found.size() != dim) throw no_domain();
        return found;
    }

    static Failure no_domain() {
        return Failure(2, "Expected a whole manifest.json; model.domain is wrong. Export again.");
    }

    std::string place(std::size_t i) const {
        return "row " + std::to_string(i / dim) + " (from 0), column " + std::to_string(i % dim + 1);
    }

    static std::string text(double number) {
        char digits[32];
        std::snprintf(digits, sizeof digits, "%g", number);
        return digits;
    }

    // Of an open domain, which ends before denormal numbers, a number next to a border steps back.
    void step_inside(std::vector<float>& x, std::size_t i) const {
        const double low = low_[i % dim], high = high_[i % dim], number = x[i];
        if (!(closed_ ? number >= low && number <= high : number > low && number < high) && std::isfinite(number))
            throw Failure(2, std::string("Expected x in ") + (closed_ ? "[" : "(") + text(low) + ", " + text(high) +
                                 (closed_ ? "]" : ")") + " in column " + std::to_string(i % dim + 1) + "; row " +
                                 std::to_string(i / dim) + " (from 0) is " + text(number) +
                                 ". The density is not defined there.");
        if (!closed_ && (low == 0 || high == 0) && number != 0 && std::fabs(number) < FLT_MIN)
            x[i] = std::copysign(FLT_MIN, x[i]);
    }

    std::string read(const std::string& name) const {
        const auto path = std::filesystem::path(folder_) / name;
        std::error_code reason;
        const auto size = std::filesystem::file_size(path, reason);
        if (reason == std::errc::no_such_file_or_directory || reason == std::errc::not_a_directory)
            throw Failure(2, "Expected " + name + " in " + folder_ + "; it is missing. Export again.");
        std::ifstream file(path, std::ios::binary);
        std::string bytes(reason ? 0 : size, 0);
        if (reason || !file.read(bytes.data(), std::streamsize(bytes.size())))
            throw Failure(4, "Expected to read " + name + " in " + folder_ + "; the system refuses.");
        return bytes;
    }

    static nlohmann::json parse(const std::string& name, const std::string& bytes) {
        auto found = nlohmann::json::parse(bytes, nullptr, false);
        if (!found.is_object()) throw Failure(2, "Expected JSON in " + name + "; got something else. Export again.");
        return found;
    }

    std::string verified(const std::string& name) const {
        std::string bytes = read(name), hex;
        unsigned char digest[32];
        EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_sha256(), nullptr);
        for (unsigned char byte : digest) hex += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
        const std::string expected = manifest.at("sha256").at(name);
        if (hex != expected)
            throw Failure(2, "Expected " + name + " in " + folder_ + " with SHA-256 " + expected.substr(0, 12) +
                                 "...; got " + hex.substr(0, 12) + ".... It was altered after export; export again.");
        return bytes;
    }

    // Weights in another file: ONNX Runtime would read whatever file the graph names. Where a tensor names one, there is
    // the string "location" behind its length, 8 or padded; no string of ours is.
    static void refuse_outside(const std::string& name, const std::string& graph) {
        for (auto at = graph.find("location", 1); at != std::string::npos; at = graph.find("location", at + 1))
            if (graph[at - 1] == 8 || graph[at - 1] == 0)
                throw Failure(2, "Expected " + name +
                                     " to hold its weights; it keeps them in another file, which is not read. "
                                     "Export again.");
    }

    Ort::Session open(const std::string& name, const std::string& provider) {
        const std::string graph = verified(name);
        refuse_outside(name, graph);
        Ort::SessionOptions options;
        options.SetIntraOpNumThreads(1);
        options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
        if (provider == "cuda") {
            OrtCUDAProviderOptionsV2* cuda = nullptr;
            Ort::ThrowOnError(Ort::GetApi().CreateCUDAProviderOptions(&cuda));
            std::unique_ptr<OrtCUDAProviderOptionsV2, decltype(OrtApi::ReleaseCUDAProviderOptions)> owner(
                cuda, Ort::GetApi().ReleaseCUDAProviderOptions);
            const char *keys[] = {"use_tf32"},
                       *values[] = {"0"};  // TF32 is on by default, and not within the tolerances
            Ort::ThrowOnError(Ort::GetApi().UpdateCUDAProviderOptions(cuda, keys, values, 1));
            options.AppendExecutionProvider_CUDA_V2(*cuda);
            options.AddConfigEntry("session.disable_cpu_ep_fallback", "1");  // all nodes on CUDA, or an error
        }
        Ort::Session session(env_, graph.data(), graph.size(), options);
        const auto input = session.GetInputTypeInfo(0);
        std::vector<std::int64_t> shape;
        if (input.GetONNXType() == ONNX_TYPE_TENSOR) shape = input.GetTensorTypeAndShapeInfo().GetShape();
        if (shape.size() != 2 || shape[1] != std::int64_t(dim))
            throw Failure(2, "Expected " + name + " with rows of " + std::to_string(dim) +
                                 " numbers, as the manifest says; got " +
                                 (shape.size() == 2 ? std::to_string(shape[1]) : "no rows") + ". Export again.");
        return session;
    }

    std::vector<std::vector<float>> run(Ort::Session& session, const char* input, std::vector<float>& rows,
                                        const std::vector<const char*>& outputs,
                                        const std::vector<std::size_t>& widths) try {
        for (std::size_t i = 0; i < rows.size(); ++i)
            if (!std::isfinite(rows[i]))
                throw Failure(2, std::string("Expected finite numbers in ") + input + "; " + place(i) + " is " +
                                     text(rows[i]) + ".");
        if (rows.size() % dim)
            throw Failure(2, std::string("Expected ") + input + " in rows of " + std::to_string(dim) +
                                 " numbers; got " + std::to_string(rows.size()) + " in all.");
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        std::vector<std::vector<float>> found(outputs.size());
        for (std::size_t begin = 0, many; begin < rows.size(); begin += many * dim) {
            many = std::min((rows.size() - begin) / dim, batch_);
            const std::array<std::int64_t, 2> shape{std::int64_t(many), std::int64_t(dim)};
            const auto tensor =
                Ort::Value::CreateTensor<float>(memory, rows.data() + begin, many * dim, shape.data(), shape.size());
            const auto values =
                session.Run(Ort::RunOptions{nullptr}, &input, &tensor, 1, outputs.data(), outputs.size());
            for (std::size_t i = 0; i < values.size(); ++i) {
                const auto info = values[i].GetTensorTypeAndShapeInfo();
                const std::size_t count = many * widths[i];
                if (info.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || info.GetElementCount() != count)
                    throw Failure(2, "Expected " + std::to_string(count) + " numbers of float32 in the output " +
                                         outputs[i] + "; got others. Export again.");
                const float* numbers = values[i].GetTensorData<float>();
                for (std::size_t k = 0; k < count; ++k)
                    if (!std::isfinite(numbers[k]))
                        throw Failure(2, "Expected rows whose answers float32 can hold; row " +
                                             std::to_string(begin / dim + k / widths[i]) +
                                             " overflows: it is too far out. Leave it out.");
                found[i].insert(found[i].end(), numbers, numbers + count);
            }
        }
        return found;
    } catch (const Ort::Exception& error) {
        throw refused("run the graph", error);
    }
};

}  // namespace lunet_flow
