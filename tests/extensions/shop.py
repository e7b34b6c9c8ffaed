"""A small shop, written as the guides of Flask-SQLAlchemy, Flask-WTF and Flask-Login say."""

import os

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.views import MethodView
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect, FlaskForm
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.security import check_password_hash, generate_password_hash
from wtforms import PasswordField, StringField
from wtforms.validators import DataRequired, Email


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)
csrf = CSRFProtect()
login_manager = LoginManager()
login_manager.login_view = "shop.login"
blueprint = Blueprint("shop", __name__, url_prefix="/shop", template_folder="templates")


class User(UserMixin, db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    password: Mapped[str]


class Tea(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    sold_out: Mapped[bool] = mapped_column(default=False)


class LoginForm(FlaskForm):
    email = StringField("E-mail", validators=[DataRequired(), Email()])
    password = PasswordField("Password", validators=[DataRequired()])


class TeaForm(FlaskForm):
    name = StringField("Name", validators=[DataRequired()])


@login_manager.user_loader
def load_user(user_id):
    return db.session.get(User, int(user_id))


@blueprint.route("/login", methods=["GET", "POST"])
def login():
    form = LoginForm()
    if form.validate_on_submit():
        user = db.session.scalar(db.select(User).filter_by(email=form.email.data))
        if user is None or not check_password_hash(user.password, form.password.data):
            flash("Unknown e-mail address or wrong password.")
            return redirect(url_for("shop.login"))
        login_user(user, remember=True)
        next = request.args.get("next")
        if next and not next.startswith("/shop"):
            return abort(400)
        return redirect(next or url_for("shop.list_teas"))
    return render_template("login.html", form=form)


@blueprint.post("/logout")
@login_required
def logout():
    logout_user()
    return redirect(url_for("shop.list_teas"))


@blueprint.route("/teas")
def list_teas():
    teas = db.session.execute(db.select(Tea).where(Tea.sold_out == False)).scalars()
    return render_template("teas.html", teas=teas, user=current_user)


@blueprint.route("/teas/<int:id>")
def show_tea(id):
    return render_template("teas.html", teas=[db.get_or_404(Tea, id)], user=current_user)


class NewTea(MethodView):
    decorators = [login_required]

    def get(self):
        return render_template("tea.html", form=TeaForm())

    def post(self):
        form = TeaForm()
        if not form.validate_on_submit():
            return render_template("tea.html", form=form)
        tea = Tea(name=form.name.data)
        db.session.add(tea)
        db.session.commit()
        return redirect(url_for("shop.show_tea", id=tea.id))


blueprint.add_url_rule("/teas/new", view_func=NewTea.as_view("new_tea"))


@blueprint.app_errorhandler(410)
def gone(error):
    return render_template("teas.html", teas=[], user=current_user), 410


def init_app(app):
    app.config.setdefault("SQLALCHEMY_DATABASE_URI", "sqlite:///shop.sqlite")
    os.makedirs(app.instance_path, exist_ok=True)
    db.init_app(app)
    csrf.init_app(app)
    login_manager.init_app(app)
    app.register_blueprint(blueprint)
    with app.app_context():
        db.create_all()


def add_user(email, password):
    db.session.add(User(email=email, password=generate_password_hash(password)))
    db.session.commit()
