// Behind the training page's own code: it begins once the documents are here, which a reader asks for.
const training = document.getElementById("training"), file = new URL("documents.js", document.currentScript.src);
const wanted = make("button", { onclick() {
  const script = make("script", { src: file });
  script.onload = async () => {
    const data = await unpackTraining(gptlib["documents.js"]);
    training.replaceChildren();
    openTraining(training, WORKER, data);
    training.querySelector(".go").focus();
  };
  script.onerror = () => { wanted.textContent = "assets/documents.js could not be loaded; try again"; };
  document.head.append(script);
} }, "Get the stories that it learns from (0.2 MB)");
training.append(wanted);
